{{/*
leader-elector._check fails where a value does not fit a schema, with Helm's own
words. Helm looks at .Values.leader-elector alone: the values of another election
belong to the app chart, so the template that reads them has to look.

Takes schema, definitions, value (as JSON has it: numbers are float64), at (its
path), and election (its name). Knows the keywords that values.schema.json uses.
*/}}
{{- define "leader-elector._check" -}}
{{- $c := . -}}
{{- $value := .value -}}
{{- $kind := get (dict "invalid" "null" "bool" "boolean" "map" "object" "slice" "array" "string" "string" "float64" "number") (kindOf $value) -}}
{{- $size := 0.0 -}}
{{- if has $kind (list "string" "array") -}}
  {{- $size = len $value | float64 -}}
{{- else if eq $kind "number" -}}
  {{- $size = $value -}}
  {{- if eq $value (floor $value) -}}
    {{- $kind = "integer" -}}
  {{- end -}}
{{- end -}}
{{- $sized := dict "minLength" "string" "maxLength" "string" "minItems" "array" "minimum" "integer" "maximum" "integer" -}}
{{- $schema := .schema -}}
{{- with index $schema "$ref" -}}
  {{- $schema = get $c.definitions (trimPrefix "#/definitions/" .) -}}
{{- end -}}
{{- $wrong := list -}}
{{- $inside := list -}}
{{- range $keyword, $want := omit $schema "$schema" "title" "definitions" -}}
  {{- if eq $keyword "allOf" -}}
    {{- range $want -}}
      {{- $inside = append $inside (dict "schema" . "value" $value "at" $c.at) -}}
    {{- end -}}
  {{- else if eq $keyword "type" -}}
    {{- $types := kindIs "string" $want | ternary (list $want) $want -}}
    {{- if not (has $kind $types) -}}
      {{- $wrong = append $wrong (printf "got %s, want %s" (replace "integer" "number" $kind) (join " or " $types)) -}}
    {{- end -}}
  {{- else if eq $keyword "enum" -}}
    {{- if not (has $value $want) -}}
      {{- $wrong = append $wrong (printf "value must be one of '%s'" (join "', '" $want)) -}}
    {{- end -}}
  {{- else if eq $keyword "pattern" -}}
    {{- if and (eq $kind "string") (not (regexMatch $want $value)) -}}
      {{- $wrong = append $wrong (printf "'%s' does not match pattern '%s'" $value $want) -}}
    {{- end -}}
  {{- else if hasKey $sized $keyword -}}
    {{- $fits := hasPrefix "min" $keyword | ternary (ge $size $want) (le $size $want) -}}
    {{- if and (eq $kind (get $sized $keyword)) (not $fits) -}}
      {{- $wrong = append $wrong (printf "%s: got %.0f, want %.0f" $keyword $size $want) -}}
    {{- end -}}
  {{- else if eq $keyword "required" -}}
    {{- range $name := eq $kind "object" | ternary $want list -}}
      {{- if not (hasKey $value $name) -}}
        {{- $wrong = append $wrong (printf "missing property '%s'" $name) -}}
      {{- end -}}
    {{- end -}}
  {{- else if eq $keyword "items" -}}
    {{- range $i, $item := eq $kind "array" | ternary $value list -}}
      {{- $inside = append $inside (dict "schema" $want "value" $item "at" (printf "%s/%d" $c.at $i)) -}}
    {{- end -}}
  {{- else if has $keyword (list "properties" "additionalProperties") -}}
    {{- range $name, $property := eq $kind "object" | ternary $value dict -}}
      {{- $known := hasKey ($schema.properties | default dict) $name -}}
      {{- $at := printf "%s/%s" $c.at $name -}}
      {{- if and $known (eq $keyword "properties") -}}
        {{- $inside = append $inside (dict "schema" (get $want $name) "value" $property "at" $at) -}}
      {{- else if and (not $known) (eq $keyword "additionalProperties") (kindIs "bool" $want) -}}
        {{- $wrong = append $wrong (printf "additional properties '%s' not allowed" $name) -}}
      {{- else if and (not $known) (eq $keyword "additionalProperties") -}}
        {{- $inside = append $inside (dict "schema" $want "value" $property "at" $at) -}}
      {{- end -}}
    {{- end -}}
  {{- else -}}
    {{- fail (printf "leader-elector: values.schema.json has the keyword %s, which _check.tpl does not know" $keyword) -}}
  {{- end -}}
{{- end -}}
{{- with $wrong -}}
  {{- fail (printf "leader-elector: the values of the election %s: at '%s': %s" $c.election $c.at (join "; " .)) -}}
{{- end -}}
{{- range $inside -}}
  {{- include "leader-elector._check" (set (set . "definitions" $c.definitions) "election" $c.election) -}}
{{- end -}}
{{- end -}}
