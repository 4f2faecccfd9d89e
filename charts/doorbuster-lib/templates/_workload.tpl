{{/* A service: ServiceAccount, ConfigMap, migration Job, Deployment, Service, and what is switched on around them. */}}

{{- define "doorbuster.service" -}}
{{- $context := merge (dict "serves" true) . -}}
{{- include "doorbuster.serviceAccount" $context }}
{{ include "doorbuster.configMap" $context }}
{{- if .migrates }}
{{ include "doorbuster.migration" $context }}
{{- end }}
{{ include "doorbuster.deployment" $context }}
{{ include "doorbuster.clusterService" $context }}
{{- include "doorbuster.hpa" $context }}
{{- include "doorbuster.pdb" $context }}
{{- include "doorbuster.networkPolicy" $context }}
{{- include "doorbuster.serviceMonitor" $context }}
{{- end -}}

{{- define "doorbuster.serviceAccount" -}}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end -}}

{{- define "doorbuster.configMap" -}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
data:
  {{- include "doorbuster.configData" . | trim | default "{}" | nindent 2 }}
{{- end -}}

{{/*
The schema is brought up to date before the new pods start. Migrations only ever add (expand), so the pods of the
release before go on working beside the new schema, also after a rollback, which runs no migration backwards.
The Job brings its own ConfigMap and its own way out: those of the service are not there, or not new, yet.
*/}}
{{- define "doorbuster.migration" -}}
{{- $part := printf "%s-migrate" .part }}
{{- $name := printf "%s-migrate" (include "doorbuster.name" .) }}
{{- $job := dict "root" .root "part" .part "image" .image "args" (list "migrate" .part) "configMap" $name }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
data:
  {{- include "doorbuster.configData" . | trim | default "{}" | nindent 2 }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  podSelector:
    matchLabels:
      {{- include "doorbuster.selector" (dict "root" .root "part" $part) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- toYaml .root.Values.networkPolicy.dnsEgress | nindent 4 }}
    {{- with .root.Values.networkPolicy.storeEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-5"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 6
  activeDeadlineSeconds: {{ .root.Values.migration.activeDeadlineSeconds }}
  ttlSecondsAfterFinished: 86400
  template:
    metadata:
      labels:
        {{- include "doorbuster.selector" (dict "root" .root "part" $part) | nindent 8 }}
    spec:
      {{- include "doorbuster.podSecurity" $job | nindent 6 }}
      restartPolicy: Never
      {{- with include "doorbuster.placement" $job | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        -
          {{- include "doorbuster.container" $job | nindent 10 }}
      {{- include "doorbuster.volumes" $job | nindent 6 }}
{{- end -}}

{{- define "doorbuster.deployment" -}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
spec:
  {{- if not (.root.Values.hpa | default dict).enabled }}
  replicas: {{ .root.Values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "doorbuster.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "doorbuster.labels" . | nindent 8 }}
        {{- with .root.Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/config: {{ include "doorbuster.configData" . | sha256sum }}
        {{- with .root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "doorbuster.name" . }}
      {{- include "doorbuster.podSecurity" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
      {{- with include "doorbuster.scheduling" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        -
          {{- include "doorbuster.container" (merge (dict "args" .command) .) | nindent 10 }}
          lifecycle:
            preStop:
              sleep: {seconds: 5} # until every proxy has forgotten this address
      {{- include "doorbuster.volumes" . | nindent 6 }}
{{- end -}}

{{- define "doorbuster.clusterService" -}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
spec:
  {{- if not .balanced }}
  clusterIP: None # callers spread their calls over the copies themselves
  {{- end }}
  selector:
    {{- include "doorbuster.selector" . | nindent 4 }}
  ports:
    - {name: http, port: 8080, targetPort: http, appProtocol: http}
    - {name: admin, port: 9090, targetPort: admin, appProtocol: http}
{{- end -}}
