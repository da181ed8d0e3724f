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
- name: {{ $v.name | quote }}
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end -}}
{{- end -}}

{{/* For the app's volumeMounts. */}}
{{- define "leader-elector.volumeMount" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
- name: {{ $v.name | quote }}
  mountPath: {{ $v.statusDir | quote }}
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

{{/* For imagePullSecrets: those of global.imagePullSecrets. */}}
{{- define "leader-elector.imagePullSecrets" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
{{- range $v.global.imagePullSecrets }}
- name: {{ kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name") | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* For serviceAccountName. It is never empty: Helm would keep the account that the pod had. */}}
{{- define "leader-elector.serviceAccountName" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- $v.serviceAccount.name -}}
{{- end -}}
