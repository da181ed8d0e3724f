{{/* What the schema can't say: it looks at one value at a time, before templates in it are rendered. */}}

{{- define "leader-elector._rules" -}}
{{- $subdomain := "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" -}}
{{- range $value, $name := dict "leaseName" .leaseName "serviceAccount.name" .serviceAccount.name -}}
  {{- if or (not (regexMatch $subdomain $name)) (gt (len $name) 253) -}}
    {{- fail (printf "leader-elector: %s is %q: it must be lower case letters, digits, '-' and '.', and begin and end with a letter or a digit" $value $name) -}}
  {{- end -}}
{{- end -}}
{{- if .labelPodRole -}}
  {{- if hasKey .leaderService.selector .roleLabel -}}
    {{- fail (printf "leader-elector: roleLabel is %q, which leaderService.selector holds too: that selects all of the app's pods, and the sidecar changes roleLabel on each of them. Set roleLabel to a label that no selector of the app holds" .roleLabel) -}}
  {{- end -}}
{{- else if not (kindIs "invalid" .podDeletionCost) -}}
  {{- fail "leader-elector: podDeletionCost needs labelPodRole: true, since the request that labels the pod sets it too. Set labelPodRole: true, or leave podDeletionCost out" -}}
{{- end -}}
{{- include "leader-elector._timingRules" . -}}
{{- end -}}

{{/* Whole seconds, rounded down: what is refused is wrong however it is rounded. The sidecar compares exactly. */}}
{{- define "leader-elector._timingRules" -}}
{{- $lease := include "leader-elector._seconds" .leaseDuration | int -}}
{{- if or (lt $lease 1) (gt $lease 3600) -}}
  {{- fail (printf "leader-elector: leaseDuration is %q: it must be from 1s to 1h" .leaseDuration) -}}
{{- end -}}
{{- with .renewDeadline -}}
  {{- if ge (include "leader-elector._seconds" . | int) $lease -}}
    {{- fail (printf "leader-elector: renewDeadline is %q: it must be shorter than leaseDuration, which is %q" . $.leaseDuration) -}}
  {{- end -}}
{{- end -}}
{{- if and .renewDeadline .renewInterval .retryPeriod -}}
  {{- $busy := add (include "leader-elector._seconds" .renewInterval) (include "leader-elector._seconds" .retryPeriod) -}}
  {{- if gt $busy (include "leader-elector._seconds" .renewDeadline | int64) -}}
    {{- fail (printf "leader-elector: renewInterval %q and retryPeriod %q together must be at most renewDeadline, which is %q" .renewInterval .retryPeriod .renewDeadline) -}}
  {{- end -}}
{{- end -}}
{{- with .claimDelay -}}
  {{- if gt (include "leader-elector._seconds" . | int) $lease -}}
    {{- fail (printf "leader-elector: claimDelay is %q: it must be at most leaseDuration, which is %q" . $.leaseDuration) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* A duration in seconds: sprig has no function for that, but dates that a duration can be added to. */}}
{{- define "leader-elector._seconds" -}}
{{- $start := toDate "2006" "2000" -}}
{{- sub (mustDateModify . $start | unixEpoch) (unixEpoch $start) -}}
{{- end -}}

{{/* What two elections of one pod can't share. Takes first and v. */}}
{{- define "leader-elector._besideRules" -}}
{{- $remedy := printf "Set another one for the election %s, or ownPod: true where its templates are in another pod" .v.name -}}
{{- if eq .v.name .first.name -}}
  {{- fail (printf "leader-elector: two elections are called %s. Set another name for one of them" .v.name) -}}
{{- end -}}
{{- if eq (int .v.port) (int .first.port) -}}
  {{- fail (printf "leader-elector: two elections have port %d. %s" (int .v.port) $remedy) -}}
{{- end -}}
{{- if eq (trimSuffix "/" .v.statusDir) (trimSuffix "/" .first.statusDir) -}}
  {{- fail (printf "leader-elector: two elections have statusDir %s. %s" .v.statusDir $remedy) -}}
{{- end -}}
{{- if and .v.labelPodRole .first.labelPodRole (eq (.v.roleLabel | default "role") (.first.roleLabel | default "role")) -}}
  {{- fail (printf "leader-elector: two elections label the pod with roleLabel %s. %s" (.v.roleLabel | default "role") $remedy) -}}
{{- end -}}
{{- if and (not (kindIs "invalid" .v.podDeletionCost)) (not (kindIs "invalid" .first.podDeletionCost)) -}}
  {{- fail (printf "leader-elector: two elections set podDeletionCost, of which a pod has one. Leave it out for one of them, or set ownPod: true for the election %s where its templates are in another pod" .v.name) -}}
{{- end -}}
{{- end -}}
