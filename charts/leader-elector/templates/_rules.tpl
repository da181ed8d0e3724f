{{/* What the schema can't say: it looks at one value at a time, before templates in it are rendered. */}}

{{- define "leader-elector._rules" -}}
{{- $subdomain := "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" -}}
{{- range $value, $name := dict "leaseName" .leaseName "serviceAccount.name" .serviceAccount.name -}}
  {{- if or (not (regexMatch $subdomain $name)) (gt (len $name) 253) -}}
    {{- fail (printf "leader-elector: %s is %q: it must be lower case letters, digits, '-' and '.', and begin and end with a letter or a digit" $value $name) -}}
  {{- end -}}
{{- end -}}
{{- if not .image.repository -}}
  {{- fail "leader-elector: image.repository is empty: set it to the image's name, such as leader-elector/leader-elector" -}}
{{- end -}}
{{- if and .labelPodRole .leaderService.create -}}
  {{- if or (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .leaderService.name)) (gt (len .leaderService.name) 63) -}}
    {{- fail (printf "leader-elector: leaderService.name is %q: it must be at most 63 lower case letters, digits and '-', begin with a letter and end with a letter or a digit" .leaderService.name) -}}
  {{- end -}}
  {{- if not .leaderService.ports -}}
    {{- fail "leader-elector: leaderService.ports is empty: a Service has one port at least. Set leaderService.create: false for none" -}}
  {{- end -}}
{{- end -}}
{{- if regexMatch (printf "^http://(localhost|127\\.[0-9.]+|\\[::1\\]):%d(/|$)" (int .port)) (.leadWhile | default "") -}}
  {{- fail (printf "leader-elector: leadWhile is %q: port %d is where the sidecar itself answers. Set the app's port" .leadWhile (int .port)) -}}
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

{{/* The timings in milliseconds, as YAML. What is not set is a part of leaseDuration. */}}
{{- define "leader-elector._timings" -}}
{{- $lease := include "leader-elector._milliseconds" .leaseDuration | int64 -}}
lease: {{ $lease }}
deadline: {{ include "leader-elector._milliseconds" .renewDeadline | default (div (mul $lease 2) 3) }}
interval: {{ include "leader-elector._milliseconds" .renewInterval | default (div $lease 3) }}
retry: {{ include "leader-elector._milliseconds" .retryPeriod | default (div (mul $lease 2) 15) }}
{{- end -}}

{{/* The rules of the sidecar for its timings. */}}
{{- define "leader-elector._timingRules" -}}
{{- $timings := include "leader-elector._timings" . | fromYaml -}}
{{- $lease := int64 $timings.lease -}}
{{- if or (lt $lease 1000) (gt $lease 3600000) (mod $lease 1000) -}}
  {{- fail (printf "leader-elector: leaseDuration is %q: it must be whole seconds, from 1s to 1h" .leaseDuration) -}}
{{- end -}}
{{- $deadline := int64 $timings.deadline -}}
{{- $interval := int64 $timings.interval -}}
{{- $retry := int64 $timings.retry -}}
{{- if ge $deadline $lease -}}
  {{- fail (printf "leader-elector: renewDeadline is %q: it must be shorter than leaseDuration, which is %q" .renewDeadline .leaseDuration) -}}
{{- end -}}
{{- if gt (add $interval $retry) $deadline -}}
  {{- fail (printf "leader-elector: renewInterval (%dms) and retryPeriod (%dms) together must be at most renewDeadline (%dms). What is not set is 1/3, 2/15 and 2/3 of leaseDuration" $interval $retry $deadline) -}}
{{- end -}}
{{- with .stopGrace -}}
  {{- $most := sub $deadline (add $interval $retry) -}}
  {{- if gt (include "leader-elector._milliseconds" . | int64) $most -}}
    {{- fail (printf "leader-elector: stopGrace is %q: it must be at most %dms, which is renewDeadline - renewInterval - retryPeriod" . $most) -}}
  {{- end -}}
{{- end -}}
{{- with .claimDelay -}}
  {{- if gt (include "leader-elector._milliseconds" . | int64) $lease -}}
    {{- fail (printf "leader-elector: claimDelay is %q: it must be at most leaseDuration, which is %q" . $.leaseDuration) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* A duration in milliseconds; "" for none. Sprig has no function for that, but dates that a duration can be added to. */}}
{{- define "leader-elector._milliseconds" -}}
{{- if not (has (toString .) (list "" "0" "<nil>")) -}}
{{- $start := toDate "2006" "2000" -}}
{{- sub (mustDateModify . $start).UnixMilli $start.UnixMilli -}}
{{- end -}}
{{- end -}}

{{/* What two elections of one pod can't share. Takes first and v. */}}
{{- define "leader-elector._besideRules" -}}
{{- $remedy := printf "Set another one for the election %s, or ownPod: true where its templates are in another pod" .v.name -}}
{{- if eq .v.name .first.name -}}
  {{- fail (printf "leader-elector: two elections are called %s. Set another name for one of them" .v.name) -}}
{{- end -}}
{{- if and .v.leaseName (eq .v.leaseName (.first.leaseName | default "")) -}}
  {{- fail (printf "leader-elector: two elections have leaseName %s: they would be one election. Set another one for the election %s" .v.leaseName .v.name) -}}
{{- end -}}
{{- if eq (int .v.port) (int .first.port) -}}
  {{- fail (printf "leader-elector: two elections have port %d. %s" (int .v.port) $remedy) -}}
{{- end -}}
{{- if eq (clean .v.statusDir) (clean .first.statusDir) -}}
  {{- fail (printf "leader-elector: two elections have statusDir %s. %s" .v.statusDir $remedy) -}}
{{- end -}}
{{- if and .v.labelPodRole .first.labelPodRole (eq (.v.roleLabel | default "role") (.first.roleLabel | default "role")) -}}
  {{- fail (printf "leader-elector: two elections label the pod with roleLabel %s. %s" (.v.roleLabel | default "role") $remedy) -}}
{{- end -}}
{{- if and (not (kindIs "invalid" .v.podDeletionCost)) (not (kindIs "invalid" .first.podDeletionCost)) -}}
  {{- fail (printf "leader-elector: two elections set podDeletionCost, of which a pod has one. Leave it out for one of them, or set ownPod: true for the election %s where its templates are in another pod" .v.name) -}}
{{- end -}}
{{- end -}}
