{{/* Public: the objects that an app chart adds once. */}}

{{- define "leader-elector.resources" -}}
{{- range list "serviceAccount" "role" "roleBinding" "leaderService" -}}
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
metadata:
  name: {{ $v.serviceAccount.name }}
  labels:
    {{- toYaml $v.labels | nindent 4 }}
  {{- with $v.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.role" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.rbac.create -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $v.objectName }}
  labels:
    {{- toYaml $v.labels | nindent 4 }}
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
{{- end -}}
{{- end -}}

{{- define "leader-elector.roleBinding" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.rbac.create -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $v.objectName }}
  labels:
    {{- toYaml $v.labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $v.objectName }}
subjects:
  - kind: ServiceAccount
    name: {{ $v.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.leaderService" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.labelPodRole $v.leaderService.create -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $v.leaderService.name }}
  labels:
    {{- toYaml $v.labels | nindent 4 }}
  {{- with $v.leaderService.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $v.leaderService.type }}
  selector:
    {{- toYaml (set $v.leaderService.selector $v.roleLabel "leader") | nindent 4 }}
  ports:
    {{- toYaml $v.leaderService.ports | nindent 4 }}
{{- end -}}
{{- end -}}
