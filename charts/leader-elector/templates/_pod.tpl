{{/* Public: what an app's pod template includes. */}}

{{/* For initContainers: a native sidecar (Kubernetes 1.29 on), which starts before the app and stops after it. */}}
{{- define "leader-elector.sidecar" -}}
{{- include "leader-elector._container" (dict "election" . "native" true) -}}
{{- end -}}

{{/* For containers: an ordinary container, which the kubelet starts and stops together with the app. */}}
{{- define "leader-elector.container" -}}
{{- include "leader-elector._container" (dict "election" . "native" false) -}}
{{- end -}}

{{/* For volumes. In memory, so that no full or slow disk comes between the election and the app. */}}
{{- define "leader-elector.volume" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
- name: {{ $v.name }}
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end -}}
{{- end -}}

{{/* For the app's volumeMounts. */}}
{{- define "leader-elector.volumeMount" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
- name: {{ $v.name }}
  mountPath: {{ $v.statusDir }}
  readOnly: true
{{- end -}}
{{- end -}}

{{/* For the app's env: the status file, and where to ask. Another election's carry its name in front: REPORTS_LEADER_URL. */}}
{{- define "leader-elector.env" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
- name: {{ $v.envPrefix }}LEADER_STATUS_FILE
  value: {{ printf "%s/leader_status" (trimSuffix "/" $v.statusDir) | quote }}
- name: {{ $v.envPrefix }}LEADER_URL
  value: {{ printf "http://localhost:%d/leader" (int $v.port) | quote }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.serviceAccountName" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
{{- $v.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "leader-elector._container" -}}
{{- $v := include "leader-elector._values" .election | fromYaml -}}
{{- if $v.enabled -}}
{{- $fields := include "leader-elector._containerFields" (dict "v" $v "native" .native) | fromYaml -}}
{{- toYaml (list (mustMergeOverwrite $fields $v.container)) -}}
{{- end -}}
{{- end -}}

{{- define "leader-elector._containerFields" -}}
{{- $v := .v -}}
name: {{ $v.name }}
image: {{ $v.image.repository }}{{ if $v.image.digest }}@{{ $v.image.digest }}{{ else }}:{{ $v.image.tag }}{{ end }}
imagePullPolicy: {{ $v.image.pullPolicy }}
{{- if .native }}
restartPolicy: Always
{{- end }}
env:
  - name: LEASE_NAME
    value: {{ $v.leaseName | quote }}
  - name: NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: IDENTITY # the hostname is shared on the host's network, and cut at 63 characters
    value: $(POD_NAME)
  - name: STATUS_DIR
    value: {{ $v.statusDir | quote }}
  - name: HEALTH_PORT
    value: {{ int $v.port | quote }}
  - name: LABEL_POD_ROLE
    value: {{ $v.labelPodRole | default false | quote }}
  {{- $releaseDelay := $v.releaseDelay | default (ternary "0" "" .native) }}
  {{- range $name, $value := dict "LEASE_DURATION" $v.leaseDuration "RENEW_DEADLINE" $v.renewDeadline "RETRY_PERIOD" $v.retryPeriod "RENEW_INTERVAL" $v.renewInterval "RELEASE_DELAY" $releaseDelay "LOG_FORMAT" $v.logFormat "LOG_LEVEL" $v.logLevel }}
  {{- if $value }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- end }}
  {{- with $v.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: {{ $v.name | trunc 15 | trimSuffix "-" }}
    containerPort: {{ int $v.port }}
startupProbe:
  httpGet: {path: /healthz, port: {{ int $v.port }}}
  {{- toYaml $v.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: {{ int $v.port }}}
  {{- toYaml $v.livenessProbe | nindent 2 }}
resources:
  {{- toYaml $v.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - name: {{ $v.name }}
    mountPath: {{ $v.statusDir }}
{{- end -}}
