{{/* The parts of a pod that obey the Pod Security level "restricted". */}}

{{- define "doorbuster.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- end -}}

{{- define "doorbuster.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* One container of the services' image. Takes also args (a list) and serves (whether it has ports and probes). */}}
{{- define "doorbuster.container" -}}
name: {{ .part }}
image: {{ include "doorbuster.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ .args | toJson }}
{{ include "doorbuster.containerSecurity" . }}
envFrom:
  - configMapRef:
      name: {{ .configMap | default (include "doorbuster.name" .) }}
env:
  - name: DOORBUSTER_HOST
    value: {{ .root.Values.listenAddress | quote }}
  {{- if .fromCluster }}
  - name: DOORBUSTER_OPERATOR_NAMESPACE
    valueFrom:
      fieldRef: {fieldPath: metadata.namespace}
  - name: DOORBUSTER_OPERATOR_IDENTITY
    valueFrom:
      fieldRef: {fieldPath: metadata.name}
  {{- end }}
  {{- if .hasKey }}
  - name: DOORBUSTER_SERVICE_KEY_FILE
    value: /etc/doorbuster/key/{{ .root.Values.secrets.serviceKeyFile | default (printf "%s.pem" .part) }}
  {{- end }}
  {{- if .hasPublicKeys }}
  - name: DOORBUSTER_SERVICE_KEYS_DIR
    value: /etc/doorbuster/service-keys
  {{- end }}
  {{- with include "doorbuster.env" . }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with .root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if .serves }}
ports:
  - {name: http, containerPort: 8080}
  - {name: admin, containerPort: 9090}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}
resources:
  {{- toYaml .root.Values.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if .hasKey }}
  - {name: key, mountPath: /etc/doorbuster/key, readOnly: true}
  {{- end }}
  {{- if .hasPublicKeys }}
  - {name: service-keys, mountPath: /etc/doorbuster/service-keys, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "doorbuster.volumes" -}}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- if .hasKey }}
  - name: key
    secret:
      secretName: {{ include "doorbuster.keySecret" . }}
      defaultMode: 0440
  {{- end }}
  {{- if .hasPublicKeys }}
  - name: service-keys
    configMap:
      name: {{ include "doorbuster.publicKeys" . }}
  {{- end }}
{{- end -}}

{{/* Where a pod may run and what it may pull; what the chart leaves empty comes from global. */}}
{{- define "doorbuster.placement" -}}
{{- $global := .root.Values.global | default dict -}}
{{- with .root.Values.imagePullSecrets | default $global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector | default $global.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations | default $global.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "doorbuster.scheduling" -}}
{{- include "doorbuster.placement" . }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ .root.Values.topologySpread.topologyKey }}
    whenUnsatisfiable: {{ .root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "doorbuster.selector" . | nindent 8 }}
{{- end }}
{{- end -}}
