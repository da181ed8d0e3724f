{{/* Public: what the Prometheus operator reads. Both are off by default. */}}

{{- define "leader-elector.podMonitor" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.podMonitor.create -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
{{ include "leader-elector._metadata" (dict "v" $v "name" $v.objectName "labels" $v.podMonitor.labels) }}
spec:
  selector:
    matchLabels:
      {{- toYaml $v.leaderService.selector | nindent 6 }}
  podMetricsEndpoints:
    - port: {{ $v.name | trunc 15 | trimSuffix "-" }}
      interval: {{ $v.podMonitor.interval }}
{{- end -}}
{{- end -}}

{{- define "leader-elector.prometheusRule" -}}
{{- $v := include "leader-elector._values" . | fromYaml -}}
{{- if and $v.enabled $v.prometheusRule.create -}}
{{- $root := .context | default . -}}
{{- $timings := include "leader-elector._timings" $v | fromYaml -}}
{{- $scrape := include "leader-elector._milliseconds" $v.podMonitor.interval | int64 -}}
{{- /* Longer than an ordinary failover, than two scrapes; less than half of what an ordinary renewal leaves. */ -}}
{{- $alerts := dict
  "of" (printf "{namespace=%q,name=%q}" $root.Release.Namespace $v.leaseName)
  "noLeader" (printf "%ds" (div (max 60000 (mul (int64 $timings.lease) 2)) 1000))
  "two" (printf "%ds" (div (max 60000 (mul $scrape 2)) 1000))
  "left" (divf (sub (int64 $timings.deadline) (int64 $timings.interval)) (mul (int64 $timings.deadline) 2) | printf "%.2f")
-}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
{{ include "leader-elector._metadata" (dict "v" $v "name" $v.objectName "labels" $v.prometheusRule.labels) }}
spec:
  groups:
    - name: {{ $v.objectName }}
      rules:
        {{- include "leader-elector._alerts" $alerts | nindent 8 }}
{{- end -}}
{{- end -}}

{{/* The alerts. Takes of: the selector of the election's series; noLeader, two: for how long; left: the part of RENEW_DEADLINE that is too little. */}}
{{- define "leader-elector._alerts" -}}
{{- $docs := "https://github.com/leader-elector/leader-elector/blob/main/docs/monitoring.md" -}}
- alert: LeaderElectionNoLeader
  expr: max by (namespace, name) (leader_election_master_status{{ .of }}) == 0 or absent(leader_election_master_status{{ .of }})
  for: {{ .noLeader }}
  labels: {severity: critical}
  annotations:
    summary: No pod leads by the Lease {{ `{{ $labels.namespace }}/{{ $labels.name }}` }}.
    runbook_url: {{ $docs }}#leaderelectionnoleader
- alert: LeaderElectionNoAppAlive
  expr: max by (namespace, name) (leader_election_app_alive{{ .of }}) == 0
  for: 1m
  labels: {severity: critical}
  annotations:
    summary: No app of the Lease {{ `{{ $labels.namespace }}/{{ $labels.name }}` }} is alive, so no pod leads.
    runbook_url: {{ $docs }}#leaderelectionnoappalive
- alert: LeaderElectionTwoLeaders # in two scrapes: pods are not scraped at the same moment
  expr: sum by (namespace, name) (leader_election_master_status{{ .of }}) > 1
  for: {{ .two }}
  labels: {severity: critical}
  annotations:
    summary: {{ `'{{ $value }} pods say that they lead by the Lease {{ $labels.namespace }}/{{ $labels.name }}.'` }}
    runbook_url: {{ $docs }}#leaderelectiontwoleaders
- alert: LeaderElectionFlapping
  expr: max by (namespace, name) (increase(leader_election_transitions_seen_total{{ .of }}[15m])) > 5
  labels: {severity: warning}
  annotations:
    summary: The leader of the Lease {{ `{{ $labels.namespace }}/{{ $labels.name }}` }} has changed more than five times in 15 minutes.
    runbook_url: {{ $docs }}#leaderelectionflapping
- alert: LeaderElectionRenewalsLate
  expr: min by (namespace, name) (min_over_time((leader_election_valid_seconds{{ .of }} > 0)[10m:30s]) / leader_election_renew_deadline_seconds{{ .of }}) < {{ .left }}
  labels: {severity: warning}
  annotations:
    summary: The Lease {{ `{{ $labels.namespace }}/{{ $labels.name }}` }} was renewed with less than {{ .left }} of RENEW_DEADLINE left.
    runbook_url: {{ $docs }}#leaderelectionrenewalslate
- alert: LeaderElectionDrainsLong
  expr: time() - max by (namespace, name) (leader_election_draining_since_timestamp_seconds{{ .of }} > 0) > 300
  labels: {severity: warning}
  annotations:
    summary: The Lease {{ `{{ $labels.namespace }}/{{ $labels.name }}` }} has been kept for more than five minutes for an app that does not stop its leader work.
    runbook_url: {{ $docs }}#leaderelectiondrainslong
{{- end -}}
