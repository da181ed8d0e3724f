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
{{- $objects := list -}}
{{- range regexSplit "(?m)^---(?:\\s|$)" $text -1 -}}
  {{- if regexReplaceAll "(?m)^\\s*(#.*)?$" . "" | trim -}}
    {{- $objects = append $objects . -}}
  {{- end -}}
{{- end -}}
{{- if gt (len $objects) 1 -}}
  {{- fail (printf "leader-elector: the template %s renders more than one object; inject takes one" $template) -}}
{{- end -}}
{{- with $objects -}}
{{- $workload := first . | fromYaml -}}
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
  {{- fail (printf "leader-elector: the template %s renders no pod with containers (kind %s)" $template ($workload.kind | toString)) -}}
{{- end -}}
{{- $root := $election.context | default $election -}}
{{- $where := ($workload.metadata).namespace | default $root.Release.Namespace -}}
{{- if ne $where $root.Release.Namespace -}}
  {{- fail (printf "leader-elector: the template %s renders an object of namespace %s, and the Role is in that of the release, %s" $template $where $root.Release.Namespace) -}}
{{- end -}}
{{- include "leader-elector._injectRules" (dict "v" $v "spec" $pod.spec "labels" (($pod.metadata).labels | default dict) "template" $template "env" (include "leader-elector.env" $election | fromYamlArray)) -}}
{{- include "leader-elector._injectPod" (dict "v" $v "spec" $pod.spec "election" $election) -}}
{{- toYaml $workload -}}
{{- end -}}
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

{{/* What can't work, where the pod is there to be seen. Takes v, spec, labels, template, and env: what is added. */}}
{{- define "leader-elector._injectRules" -}}
{{- $v := .v -}}
{{- $spec := .spec -}}
{{- $env := .env -}}
{{- $refuse := printf "leader-elector: the pod of %s " .template -}}
{{- $account := .spec.serviceAccountName | default (.spec.serviceAccount | default $v.serviceAccount.name) -}}
{{- if ne $account $v.serviceAccount.name -}}
  {{- fail (printf "%sruns as the service account %s, and the Role is bound to %s. Set leader-elector.serviceAccount.create: false and leader-elector.serviceAccount.name to the pod's (a template is rendered), or take serviceAccountName out of the pod" $refuse $account $v.serviceAccount.name) -}}
{{- end -}}
{{- $token := toString .spec.automountServiceAccountToken -}}
{{- if or (eq $token "false") (and $v.serviceAccount.create (not $v.serviceAccount.automount) (ne $token "true")) -}}
  {{- fail (printf "%sgets no token of its service account, and the sidecar needs it. Take automountServiceAccountToken: false out of the pod and serviceAccount.automount: false out of the values, or mount a token by leader-elector.extraVolumeMounts and use the templates one by one" $refuse) -}}
{{- end -}}
{{- $role := get .labels $v.roleLabel -}}
{{- if and $v.labelPodRole $role (not (has $role (list "leader" "follower"))) -}}
  {{- fail (printf "%shas the label %s: %s, which the sidecar would have to change. Set leader-elector.roleLabel to another label" $refuse $v.roleLabel $role) -}}
{{- end -}}
{{- range .spec.volumes -}}
  {{- if eq (toString .name) $v.name -}}
    {{- fail (printf "%shas a volume %s already. Set another leader-elector.name, or take the volume out" $refuse .name) -}}
  {{- end -}}
{{- end -}}
{{- range concat (.spec.initContainers | default list) .spec.containers -}}
  {{- $name := toString .name -}}
  {{- if eq $name $v.name -}}
    {{- fail (printf "%shas a container %s already. Use inject alone, or set another leader-elector.name" $refuse $name) -}}
  {{- end -}}
  {{- range .ports -}}
    {{- if eq (int .containerPort) (int $v.port) -}}
      {{- fail (printf "leader-elector: the container %s has port %d, and so does the sidecar: set leader-elector.port to another" $name (int $v.port)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range .spec.containers -}}
  {{- $name := toString .name -}}
  {{- range .volumeMounts -}}
    {{- if eq (toString .mountPath | clean) (clean $v.statusDir) -}}
      {{- fail (printf "leader-elector: the container %s has a mount at %s already: set leader-elector.statusDir to another directory" $name .mountPath) -}}
    {{- end -}}
  {{- end -}}
  {{- range .env -}}
    {{- $own := toString .name -}}
    {{- range $env -}}
      {{- if eq .name $own -}}
        {{- fail (printf "leader-elector: the container %s has the variable %s already, which inject adds. Take it out" $name $own) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
