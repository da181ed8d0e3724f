{{/* Public: the objects that an app chart adds once. */}}

{{- define "leader-elector.resources" -}}
{{- range list "serviceAccount" "role" "roleBinding" "leaderService" "podMonitor" "prometheusRule" -}}
{{- with include (printf "leader-elector.%s" .) $ -}}
---
{{ . }}
{{ end -}}
{{- end -}}
{{- end -}}

{{- define "leader-elector.serviceAccount" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
{{ include "leader-elector._metadata" (dict "v" $v "name" $v.serviceAccount.name "labels" $v.serviceAccount.labels "annotations" $v.serviceAccount.annotations) }}
automountServiceAccountToken: {{ $v.serviceAccount.automount | default false }}
{{- with include "leader-elector.imagePullSecrets" . }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.role" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.rbac.create -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
{{ include "leader-elector._metadata" (dict "v" $v "name" $v.objectName) }}
rules:
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [{{ $v.leaseName | quote }}]
    verbs: [get, update, watch]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create] # has no name yet that a rule could hold
  {{- if $v.labelPodRole }}
  - apiGroups: [""]
    resources: [pods]
    verbs: [patch] # this pod's labels and annotations, and its predecessor's
  {{- end }}
  {{- if $v.leaderEvents }}
  - apiGroups: [""]
    resources: [events]
    verbs: [create]
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.roleBinding" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.rbac.create -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
{{ include "leader-elector._metadata" (dict "v" $v "name" $v.objectName) }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $v.objectName | quote }}
subjects:
  - kind: ServiceAccount
    name: {{ $v.serviceAccount.name | quote }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.leaderService" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.labelPodRole $v.leaderService.create -}}
apiVersion: v1
kind: Service
{{ include "leader-elector._metadata" (dict "v" $v "name" $v.leaderService.name "annotations" $v.leaderService.annotations) }}
spec:
{{- $selector := set $v.leaderService.selector $v.roleLabel "leader" -}}
{{- $spec := dict "type" $v.leaderService.type "selector" $selector "ports" $v.leaderService.ports }}
  {{- mustMergeOverwrite $spec ($v.leaderService.spec | default dict) | toYaml | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Takes v, name, and the object's own labels and annotations. */}}
{{- define "leader-elector._metadata" -}}
metadata:
  name: {{ .name | quote }}
  labels:
    {{- merge (dict) .v.labels (.labels | default dict) | toYaml | nindent 4 }}
  {{- with merge (dict) (.annotations | default dict) (.v.commonAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
