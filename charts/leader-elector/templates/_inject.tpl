{{/*
Public: leader-elector.inject renders a template of the app chart that makes one
workload, and adds the native sidecar to its pod. Takes (list ELECTION "template"):
ELECTION is what the other templates take.
*/}}
{{- define "leader-elector.inject" -}}
{{- $election := index . 0 -}}
{{- $template := index . 1 -}}
{{- $text := include $template ($election.context | default $election) -}}
{{- $v := include "leader-elector._values" $election | fromYaml -}}
{{- if not $v.enabled -}}
{{- $text -}}
{{- else -}}
{{- if regexMatch "(?m)^---\\s*$" (trimPrefix "---" (trim $text)) -}}
  {{- fail (printf "leader-elector: the template %s renders more than one object; inject takes one" $template) -}}
{{- end -}}
{{- $workload := fromYaml $text -}}
{{- with $workload.Error -}}
  {{- fail (printf "leader-elector: the template %s renders no YAML object: %s" $template .) -}}
{{- end -}}
{{- $pod := $workload -}}
{{- if eq ($workload.kind | toString) "CronJob" -}}
  {{- $pod = (($workload.spec).jobTemplate).spec.template -}}
{{- else if ne ($workload.kind | toString) "Pod" -}}
  {{- $pod = ($workload.spec).template -}}
{{- end -}}
{{- if not ($pod.spec).containers -}}
  {{- fail (printf "leader-elector: the template %s renders no pod with containers (kind %s)" $template $workload.kind) -}}
{{- end -}}
{{- include "leader-elector._injectRules" (dict "v" $v "spec" $pod.spec "template" $template) -}}
{{- include "leader-elector._injectPod" (dict "v" $v "spec" $pod.spec "election" $election) -}}
{{- toYaml $workload -}}
{{- end -}}
{{- end -}}

{{/* The sidecar comes last, so that no pod leads while its init containers run. */}}
{{- define "leader-elector._injectPod" -}}
{{- $spec := .spec -}}
{{- $sidecar := include "leader-elector.sidecar" .election | fromYamlArray | first -}}
{{- if and (eq (toString ($spec.securityContext).runAsUser) "0") (not (hasKey $sidecar.securityContext "runAsUser")) -}}
  {{- $_ := set $sidecar.securityContext "runAsUser" 65532 -}}
{{- end -}}
{{- $_ := set $spec "initContainers" (append ($spec.initContainers | default list) $sidecar) -}}
{{- $_ := set $spec "volumes" (concat ($spec.volumes | default list) (include "leader-elector.volume" .election | fromYamlArray)) -}}
{{- $_ := set $spec "serviceAccountName" .v.serviceAccount.name -}}
{{- with include "leader-elector.imagePullSecrets" .election | fromYamlArray -}}
  {{- $_ := set $spec "imagePullSecrets" (concat ($spec.imagePullSecrets | default list) . | uniq) -}}
{{- end -}}
{{- range $spec.containers -}}
  {{- $_ := set . "env" (concat (.env | default list) (include "leader-elector.env" $.election | fromYamlArray)) -}}
  {{- $_ := set . "volumeMounts" (concat (.volumeMounts | default list) (include "leader-elector.volumeMount" $.election | fromYamlArray)) -}}
{{- end -}}
{{- end -}}

{{/* What can't work, where the pod is there to be seen. */}}
{{- define "leader-elector._injectRules" -}}
{{- $v := .v -}}
{{- $account := .spec.serviceAccountName | default $v.serviceAccount.name -}}
{{- if ne $account $v.serviceAccount.name -}}
  {{- fail (printf "leader-elector: the pod of %s runs as the service account %s, and the Role is bound to %s. Set leader-elector.serviceAccount.create: false and leader-elector.serviceAccount.name to the pod's (a template is rendered), or take serviceAccountName out of the pod" .template $account $v.serviceAccount.name) -}}
{{- end -}}
{{- if eq (toString .spec.automountServiceAccountToken) "false" -}}
  {{- fail (printf "leader-elector: the pod of %s has automountServiceAccountToken: false, and the sidecar needs the token. Take that out, or mount a token by leader-elector.extraVolumeMounts and use the templates one by one" .template) -}}
{{- end -}}
{{- range concat (.spec.initContainers | default list) .spec.containers -}}
  {{- $name := .name -}}
  {{- range .ports -}}
    {{- if eq (int .containerPort) (int $v.port) -}}
      {{- fail (printf "leader-elector: the container %s has port %d, and so does the sidecar: set leader-elector.port to another" $name (int $v.port)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
