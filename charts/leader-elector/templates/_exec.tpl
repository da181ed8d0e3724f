{{/*
Public: what an app's pod template includes where the app runs under exec. There
is no sidecar then: the app's own container runs the elector's binary, which
starts the app when its pod leads and stops it when the term ends.
*/}}

{{/* For initContainers: copies the binary into a volume, since the app's image has none. */}}
{{- define "leader-elector.execInitContainer" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
{{- /* An init container that ends can have none of these. */}}
{{- $container := omit ($v.container | default dict) "lifecycle" "startupProbe" "livenessProbe" "readinessProbe" "restartPolicy" "ports" -}}
{{- include "leader-elector._merged" (dict "v" (set $v "container" $container) "fields" (include "leader-elector._installFields" $v)) -}}
{{- end -}}
{{- end -}}

{{- define "leader-elector._installFields" -}}
name: {{ printf "%s-install" .name | quote }}
{{ include "leader-elector._image" . }}
args: [install, {{ include "leader-elector._execDir" . }}]
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- include "leader-elector._securityContext" . | nindent 2 }}
volumeMounts:
  - name: {{ include "leader-elector._execVolume" . | quote }}
    mountPath: {{ include "leader-elector._execDir" . }}
{{- end -}}

{{/* For the app's command, in front of what it runs. */}}
{{- define "leader-elector.execCommand" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
- {{ include "leader-elector._execDir" $v }}/leader-election-sidecar
- exec
- "--"
{{- end -}}
{{- end -}}

{{/* For the app's env: the election's own. */}}
{{- define "leader-elector.execEnv" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
{{- if $v.leadWhile -}}
  {{- fail (printf "leader-elector: leadWhile is %q, but exec starts the app only where its pod leads: no replica would ever have a living app, and none would lead. Leave leadWhile empty with the exec templates" $v.leadWhile) -}}
{{- end -}}
{{- include "leader-elector._electionEnv" (dict "v" $v "stopGrace" $v.stopGrace) -}}
{{- end -}}
{{- end -}}

{{/* For the app's container: the probes that the sidecar has, since the same process answers. */}}
{{- define "leader-elector.execProbes" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
{{- include "leader-elector._probes" $v -}}
{{- end -}}
{{- end -}}

{{/* For volumes: that of the status file, and that of the binary. */}}
{{- define "leader-elector.execVolumes" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
{{ include "leader-elector.volume" . }}
- name: {{ include "leader-elector._execVolume" $v }}
  emptyDir:
    sizeLimit: 32Mi
{{- end -}}
{{- end -}}

{{/* For the app's volumeMounts. The process that leads writes the status file, so that mount is not read-only. */}}
{{- define "leader-elector.execVolumeMounts" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if $v.enabled -}}
- name: {{ $v.name | quote }}
  mountPath: {{ $v.statusDir | quote }}
- name: {{ include "leader-elector._execVolume" $v }}
  mountPath: {{ include "leader-elector._execDir" $v }}
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "leader-elector._execDir" -}}
/leader-elector
{{- end -}}

{{- define "leader-elector._execVolume" -}}
{{- .name -}}-exec
{{- end -}}
