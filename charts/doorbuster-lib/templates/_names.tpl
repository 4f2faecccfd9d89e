{{/* Names and labels. Each helper takes {root: the chart's context, part: the name of the part}. */}}

{{- define "doorbuster.instance" -}}
{{- (.root.Values.global | default dict).prefix | default "doorbuster" -}}
{{- end -}}

{{- define "doorbuster.name" -}}
{{- printf "%s-%s" (include "doorbuster.instance" .) .part -}}
{{- end -}}

{{- define "doorbuster.selector" -}}
app.kubernetes.io/name: {{ .part }}
app.kubernetes.io/part-of: doorbuster
app.kubernetes.io/instance: {{ include "doorbuster.instance" . }}
{{- end -}}

{{- define "doorbuster.labels" -}}
{{ include "doorbuster.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image: a digest wins over a tag; global.image fills what the chart leaves empty. .image is its usual name. */}}
{{- define "doorbuster.image" -}}
{{- $global := (.root.Values.global | default dict).image | default dict -}}
{{- $own := .root.Values.image | default dict -}}
{{- $usual := ternary (printf "%s/%s" $global.registry .image) .image (not (empty $global.registry)) -}}
{{- $repository := $own.repository | default $usual -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $repository $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($own.tag | default $global.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the settings of a part, and the one with the key that signs its calls. */}}
{{- define "doorbuster.secret" -}}
{{- .root.Values.secrets.existingSecret | default (include "doorbuster.name" .) -}}
{{- end -}}

{{- define "doorbuster.keySecret" -}}
{{- .root.Values.secrets.serviceKeySecret | default (printf "%s-key" (include "doorbuster.name" .)) -}}
{{- end -}}

{{- define "doorbuster.publicKeys" -}}
{{- (.root.Values.global | default dict).publicKeysConfigMap | default (printf "%s-service-keys" (include "doorbuster.instance" .)) -}}
{{- end -}}
