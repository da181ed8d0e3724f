{{/*
leader-elector._values is what every template works on, as YAML: the values of
the election that it was asked for, with the names that follow from them.

Asked with the root context, these are .Values.leader-elector. Asked with
(dict "context" $ "values" .Values.other), they are .Values.other, and what that
does not say as in .Values.leader-elector, save what makes an election its own.
*/}}
{{- define "leader-elector._values" -}}
{{- $root := .context | default . -}}
{{- $first := index $root.Values "leader-elector" | default dict | deepCopy -}}
{{- $fullname := include "leader-elector._fullname" $root -}}
{{- $v := $first -}}
{{- $leaderService := printf "%s-leader" $fullname -}}
{{- $envPrefix := "" -}}
{{- if .context -}}
  {{- $own := .values | default dict | deepCopy -}}
  {{- if not $own.name -}}
    {{- fail "leader-elector: the values of another election need a name of their own, such as name: other-elector" -}}
  {{- end -}}
  {{- $schema := include "leader-elector._schema" . | fromJson -}}
  {{- include "leader-elector._check" (dict "schema" $schema "definitions" $schema.definitions "value" ($own | toJson | fromJson) "at" "" "election" $own.name) -}}
  {{- $envPrefix = printf "%s_" ($own.name | upper | replace "-" "_") -}}
  {{- $v = omit $first "enabled" "name" "leaseName" "labelPodRole" "podDeletionCost" "serviceAccount" -}}
  {{- if and $first.name $first.enabled -}}
    {{- $account := include "leader-elector._accountName" (dict "values" $first "fullname" $fullname) -}}
    {{- $_ := set $v "serviceAccount" (dict "create" false "name" $account) -}}
    {{- $leaderService = printf "%s-%s-leader" $fullname $own.name -}}
  {{- end -}}
  {{- $v = mustMergeOverwrite (dict "enabled" true "serviceAccount" (dict "create" true)) $v $own -}}
{{- end -}}
{{- if not $v.image -}}
  {{- fail "leader-elector: no values for it: is it among the dependencies in Chart.yaml? Under an alias, include its templates with (dict \"context\" $ \"values\" .Values.<alias>)" -}}
{{- end -}}
{{- $object := include "leader-elector._objectName" (dict "values" $v "fullname" $fullname) -}}
{{- $_ := set $v "objectName" $object -}}
{{- $_ := set $v "envPrefix" $envPrefix -}}
{{- $_ := set $v "leaseName" ($v.leaseName | default $object) -}}
{{- $_ := set $v.serviceAccount "name" (include "leader-elector._accountName" (dict "values" $v "fullname" $fullname)) -}}
{{- $_ := set $v.leaderService "name" ($v.leaderService.name | default $leaderService) -}}
{{- $app := dict "app.kubernetes.io/name" (include "leader-elector._appName" $root) "app.kubernetes.io/instance" $root.Release.Name -}}
{{- if not $v.leaderService.selector -}}
  {{- $_ := set $v.leaderService "selector" $app -}}
{{- end -}}
{{- $_ := set $v "roleLabel" ($v.roleLabel | default "role") -}}
{{- if $v.enabled -}}
  {{- include "leader-elector._labelRules" $v -}}
{{- end -}}
{{- $_ := set $v "labels" (merge (dict "app.kubernetes.io/component" $v.name "app.kubernetes.io/managed-by" $root.Release.Service) $app) -}}
{{- toYaml $v -}}
{{- end -}}

{{/* What the schema can't say of the labels: it looks at one value at a time. */}}
{{- define "leader-elector._labelRules" -}}
{{- if .labelPodRole -}}
  {{- if hasKey .leaderService.selector .roleLabel -}}
    {{- fail (printf "leader-elector: roleLabel is %q, which leaderService.selector holds too: that selects all of the app's pods, and the sidecar changes roleLabel on each of them. Set roleLabel to a label that no selector of the app holds" .roleLabel) -}}
  {{- end -}}
{{- else if not (kindIs "invalid" .podDeletionCost) -}}
  {{- fail "leader-elector: podDeletionCost needs labelPodRole: true, since the request that labels the pod sets it too. Set labelPodRole: true, or leave podDeletionCost out" -}}
{{- end -}}
{{- end -}}

{{- define "leader-elector._appName" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The app chart's full name, as `helm create` makes it. */}}
{{- define "leader-elector._fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* <fullname>-<name>; the full name gives way where both don't fit. */}}
{{- define "leader-elector._objectName" -}}
{{- printf "%s-%s" (.fullname | trunc (int (sub 62 (len .values.name))) | trimSuffix "-") .values.name -}}
{{- end -}}

{{- define "leader-elector._accountName" -}}
{{- (.values.serviceAccount).name | default (include "leader-elector._objectName" .) -}}
{{- end -}}
