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
{{- $beside := not (not (and .context $first.name $first.enabled)) -}}
{{- $v := $first -}}
{{- if .context -}}
  {{- $v = include "leader-elector._another" (dict "first" $first "own" (.values | default dict) "beside" $beside) | fromYaml -}}
{{- end -}}
{{- if not $v.image -}}
  {{- fail "leader-elector: no values for it: is it among the dependencies in Chart.yaml? Under an alias, include its templates with (dict \"context\" $ \"values\" .Values.<alias>)" -}}
{{- end -}}
{{- $fullname := include "leader-elector._fullname" $root -}}
{{- $object := include "leader-elector._fit" (list $fullname $v.name) -}}
{{- $_ := set $v "objectName" $object -}}
{{- $_ := set $v "envPrefix" ($beside | ternary (printf "%s_" ($v.name | upper | replace "-" "_")) "") -}}
{{- $_ := set $v "global" ($root.Values.global | default dict) -}}
{{- $_ := set $v "leaseName" (tpl ($v.leaseName | default $object) $root) -}}
{{- /* One pod has one account: the first election's, where there is one. */}}
{{- $owner := dict "values" $v "object" $object "root" $root -}}
{{- if and $beside (not $v.serviceAccount.name) (not $v.serviceAccount.create) -}}
  {{- $owner = dict "values" $first "object" (include "leader-elector._fit" (list $fullname $first.name)) "root" $root -}}
{{- end -}}
{{- $_ := set $v.serviceAccount "name" (include "leader-elector._accountName" $owner) -}}
{{- $service := include "leader-elector._fit" ($beside | ternary (list $fullname $v.name "leader") (list $fullname "leader")) | replace "." "-" -}}
{{- $_ := set $v.leaderService "name" (tpl ($v.leaderService.name | default $service) $root) -}}
{{- $app := dict "app.kubernetes.io/name" (include "leader-elector._appName" $root) "app.kubernetes.io/instance" $root.Release.Name -}}
{{- if not $v.leaderService.selector -}}
  {{- $_ := set $v.leaderService "selector" $app -}}
{{- end -}}
{{- $_ := set $v "roleLabel" ($v.roleLabel | default "role") -}}
{{- if $v.enabled -}}
  {{- include "leader-elector._rules" $v -}}
{{- end -}}
{{- $labels := dict "app.kubernetes.io/component" $v.name "app.kubernetes.io/managed-by" $root.Release.Service "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- with $root.Chart.AppVersion -}}
  {{- $_ := set $labels "app.kubernetes.io/version" (regexReplaceAll "[^-A-Za-z0-9_.]" . "_" | trunc 63 | trimAll "-_.") -}}
{{- end -}}
{{- $_ := set $v "labels" (merge $labels $app ($v.commonLabels | default dict)) -}}
{{- toYaml $v -}}
{{- end -}}

{{/* The values of another election, over those of the first. Takes first, own, and beside: whether the first one takes part. */}}
{{- define "leader-elector._another" -}}
{{- $own := .own | deepCopy -}}
{{- if not $own.name -}}
  {{- fail "leader-elector: the values of another election need a name of their own, such as name: other-elector" -}}
{{- end -}}
{{- $schema := include "leader-elector._schema" . | fromJson -}}
{{- include "leader-elector._check" (dict "schema" (omit $schema "required") "definitions" $schema.definitions "value" ($own | toJson | fromJson) "at" "" "election" $own.name) -}}
{{- $v := omit .first "enabled" "name" "leaseName" "labelPodRole" "podDeletionCost" "serviceAccount" -}}
{{- $_ := set $v "leaderService" (omit ($v.leaderService | default dict) "name") -}}
{{- $v = mustMergeOverwrite (dict "enabled" true "serviceAccount" (dict "create" (not .beside))) $v $own -}}
{{- if and .beside $v.enabled (not $v.ownPod) -}}
  {{- include "leader-elector._besideRules" (dict "first" .first "v" $v) -}}
{{- end -}}
{{- toYaml $v -}}
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

{{/* Words joined to a name of at most 63 characters. Where they don't fit, the first one is cut, and gets a hash of all that keeps names apart. */}}
{{- define "leader-elector._fit" -}}
{{- $all := join "-" . -}}
{{- if le (len $all) 63 -}}
{{- $all -}}
{{- else -}}
{{- $end := printf "%s-%s" (sha256sum $all | trunc 8) (rest . | join "-") -}}
{{- printf "%s-%s" (first . | trunc (int (sub 62 (len $end))) | trimAll "-.") $end -}}
{{- end -}}
{{- end -}}

{{/* Another chart's account stays the pod's where the election is disabled. */}}
{{- define "leader-elector._accountName" -}}
{{- $account := .values.serviceAccount -}}
{{- if and $account.name (or .values.enabled (not $account.create)) -}}
{{- tpl $account.name .root -}}
{{- else if and .values.enabled $account.create -}}
{{- .object -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* The digest of this version's image, in the chart of a release. Empty: none is known. */}}
{{- define "leader-elector._releaseDigest" -}}
{{- end -}}

{{/* The image's tag where the values have none. */}}
{{- define "leader-elector._appVersion" -}}
0.1.0
{{- end -}}
