{{/* The operator: like a service, but without an API; it has a token of the cluster and rights in its namespace. */}}

{{- define "doorbuster.operator" -}}
{{- $context := merge (dict "serves" true) . -}}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
rules:
  {{- include "doorbuster-operator.rules" .root | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "doorbuster.name" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "doorbuster.name" . }}
    namespace: {{ .root.Release.Namespace }}
{{ include "doorbuster.configMap" $context }}
{{ include "doorbuster.deployment" (merge (dict "token" true "fromCluster" true) $context) }}
{{ include "doorbuster.clusterService" $context }}
{{- include "doorbuster.pdb" $context }}
{{- include "doorbuster.networkPolicy" $context }}
{{- include "doorbuster.serviceMonitor" $context }}
{{- end -}}
