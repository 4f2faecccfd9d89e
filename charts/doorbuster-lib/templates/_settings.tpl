{{/*
Environment of a part. "<chart>.settings" lists its settings, in the order of the program's configuration:
{name, key} of a value under .Values.config, {name, secret} of a key of its Secret, {name, neighbour, value} of
another part's addresses. An empty value leaves the program's own default; the umbrella's global.config fills gaps.
*/}}

{{- define "doorbuster.value" -}}
{{- $own := index .root.Values.config .key -}}
{{- $shared := index ((.root.Values.global | default dict).config | default dict) .key -}}
{{- $value := $own -}}
{{- if eq (toString $own) "" }}{{ $value = $shared }}{{ end -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) -}}
{{- /* Numbers of a values file are floats: 1000000 would be written 1e+06. */ -}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- int64 $value -}}
{{- else -}}
{{- toString $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "doorbuster.configData" -}}
{{- $context := . -}}
{{- range include (printf "doorbuster-%s.settings" .part) .root | fromYamlArray }}
{{- if .key }}
{{- $value := include "doorbuster.value" (dict "root" $context.root "key" .key) }}
{{- if $value }}
{{ .name }}: {{ $value | quote }}
{{- else if .required }}
{{- fail (printf "\n%s needs config.%s (or global.config.%s)" $context.root.Chart.Name .key .key) }}
{{- end }}
{{- else if .neighbour }}
{{- $own := index $context.root.Values.config .value }}
{{- $name := include "doorbuster.name" (dict "root" $context.root "part" .neighbour) }}
{{ .name }}: {{ $own | default (printf "dns+http://%s:8080" $name) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "doorbuster.env" -}}
{{- $context := . -}}
{{- range include (printf "doorbuster-%s.settings" .part) .root | fromYamlArray }}
{{- if .secret }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "doorbuster.secret" $context }}
      key: {{ .secret }}
      {{- if not .required }}
      optional: true
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}
