{{/* What the containers that run the elector's binary are made of. */}}

{{- define "leader-elector._container" -}}
{{- $v := include "leader-elector._values" .election | fromYaml -}}
{{- if $v.enabled -}}
{{- include "leader-elector._merged" (dict "v" $v "fields" (include "leader-elector._sidecarFields" (dict "v" $v "native" .native))) -}}
{{- end -}}
{{- end -}}

{{/* A list of one container: fields, and over them the value container. */}}
{{- define "leader-elector._merged" -}}
{{- $fields := .fields | fromYaml -}}
{{- with $fields.Error -}}
  {{- fail (printf "leader-elector: the values make no YAML: %s" .) -}}
{{- end -}}
{{- toYaml (list (mustMergeOverwrite $fields .v.container)) -}}
{{- end -}}

{{- define "leader-elector._sidecarFields" -}}
{{- $v := .v -}}
name: {{ $v.name | quote }}
{{ include "leader-elector._image" $v }}
{{- if .native }}
restartPolicy: Always
{{- /* Two handlers of one hook are refused: one of the value container's own stands alone. */}}
{{- if not (($v.container.lifecycle).preStop) }}
lifecycle:
  preStop: # runs in the second of the pod's deletion, long before SIGTERM
    exec: {command: [/leader-election-sidecar, retire]}
{{- end }}
{{- end }}
env:
  {{- include "leader-elector._electionEnv" (dict "v" $v "releaseDelay" (ternary "0" "" .native)) | nindent 2 }}
ports:
  - name: {{ $v.name | trunc 15 | trimSuffix "-" | quote }}
    containerPort: {{ int $v.port }}
{{ include "leader-elector._probes" $v }}
resources:
  {{- toYaml $v.resources | nindent 2 }}
securityContext:
  {{- include "leader-elector._securityContext" . | nindent 2 }}
volumeMounts:
  - name: {{ $v.name | quote }}
    mountPath: {{ $v.statusDir | quote }}
  {{- with $v.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "leader-elector._image" -}}
{{- $registry := .global.imageRegistry | default .image.registry | default "" | toString | trimSuffix "/" -}}
{{- $digest := .image.digest -}}
{{- if not (or $digest .image.tag (ne .image.repository "leader-elector/leader-elector")) -}}
  {{- $digest = include "leader-elector._releaseDigest" . | trim -}}
{{- end -}}
{{- $version := $digest | default (.image.tag | default (include "leader-elector._appVersion" .)) -}}
image: {{ printf "%s%s%s" (list $registry .image.repository | compact | join "/") (empty $digest | ternary ":" "@") $version | quote }}
imagePullPolicy: {{ .image.pullPolicy | quote }}
{{- end -}}

{{/*
The environment of the election. The sidecar and an app under exec get it from
here, so that it can't differ. Takes v, and releaseDelay and stopGrace, which
depend on how the binary runs.
*/}}
{{- define "leader-elector._electionEnv" -}}
{{- $v := .v -}}
- name: LEASE_NAME
  value: {{ $v.leaseName | quote }}
- name: NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- /* The hostname is shared on the host's network, and cut at 63 characters. */}}
- name: IDENTITY
  value: $(POD_NAME)
- name: STATUS_DIR
  value: {{ $v.statusDir | quote }}
- name: HEALTH_PORT
  value: {{ int $v.port | quote }}
- name: LABEL_POD_ROLE
  value: {{ $v.labelPodRole | default false | quote }}
{{- $optional := dict "LEASE_DURATION" $v.leaseDuration "RENEW_DEADLINE" $v.renewDeadline "RETRY_PERIOD" $v.retryPeriod "RENEW_INTERVAL" $v.renewInterval -}}
{{- $optional = merge $optional (dict "LOG_FORMAT" $v.logFormat "LOG_LEVEL" $v.logLevel "LEAD_WHILE" $v.leadWhile "CLAIM_DELAY" $v.claimDelay) -}}
{{- $optional = merge $optional (dict "RELEASE_DELAY" ($v.releaseDelay | default .releaseDelay) "STOP_GRACE" .stopGrace) -}}
{{- if $v.labelPodRole -}}
  {{- $_ := set $optional "ROLE_LABEL" $v.roleLabel -}}
{{- end -}}
{{- if $v.leaderEvents -}}
  {{- $_ := set $optional "LEADER_EVENTS" "true" -}}
{{- end -}}
{{- if not (kindIs "invalid" $v.podDeletionCost) -}}
  {{- $_ := set $optional "POD_DELETION_COST" ($v.podDeletionCost | int64 | toString) -}}
{{- end -}}
{{- range $name, $value := $optional }}
{{- if $value }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- range $v.extraEnv }}
{{- if or (hasKey $optional .name) (has .name (list "LEASE_NAME" "NAMESPACE" "POD_NAME" "IDENTITY" "STATUS_DIR" "HEALTH_PORT" "LABEL_POD_ROLE")) -}}
  {{- fail (printf "leader-elector: extraEnv has %s, which this chart sets: use the value of that name, such as leaseDuration for LEASE_DURATION" .name) -}}
{{- end }}
{{ toYaml (list .) }}
{{- end }}
{{- end -}}

{{/* A probe that is null or {} is left out. One with a handler of its own keeps that. */}}
{{- define "leader-elector._probes" -}}
{{- $paths := dict "startupProbe" "/healthz" "livenessProbe" "/healthz" -}}
{{- if (.readinessProbe).enabled -}}
  {{- $_ := set $paths "readinessProbe" "/readyz" -}}
{{- end -}}
{{- $probes := dict -}}
{{- range $name, $path := $paths -}}
  {{- with get $ $name -}}
    {{- $probe := omit . "enabled" -}}
    {{- if not (or .exec .tcpSocket .grpc) -}}
      {{- $probe = mustMerge (deepCopy $probe) (dict "httpGet" (dict "path" $path "port" (int $.port))) -}}
    {{- end -}}
    {{- $_ := set $probes $name $probe -}}
  {{- end -}}
{{- end -}}
{{- with $probes -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- define "leader-elector._securityContext" -}}
runAsNonRoot: true
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}
