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
*/}}
{{- define "doorbuster.migration" -}}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "doorbuster.name" . }}-migrate
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
automountServiceAccountToken: false
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "doorbuster.name" . }}-migrate
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
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "doorbuster.name" . }}-migrate
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
        {{- include "doorbuster.selector" (merge (dict "part" (printf "%s-migrate" .part)) .) | nindent 8 }}
    spec:
      serviceAccountName: {{ include "doorbuster.name" . }}-migrate
      {{- include "doorbuster.podSecurity" (dict) | nindent 6 }}
      restartPolicy: Never
      {{- include "doorbuster.scheduling" (merge (dict "root" (dict "Values" (dict "imagePullSecrets" .root.Values.imagePullSecrets "nodeSelector" .root.Values.nodeSelector "tolerations" .root.Values.tolerations "topologySpread" (dict "enabled" false)))) .) | trim | nindent 6 }}
      containers:
        -
          {{- include "doorbuster.container" (merge (dict "args" (list "migrate" .part) "serves" false "hasKey" false "hasPublicKeys" false "configMap" (printf "%s-migrate" (include "doorbuster.name" .))) .) | nindent 10 }}
      {{- include "doorbuster.volumes" (merge (dict "hasKey" false "hasPublicKeys" false) .) | nindent 6 }}
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
  {{- if not .root.Values.hpa.enabled }}
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
