{{/* What is switched on around a service. */}}

{{/*
No minReplicas: the operator owns that field while a sale is warmed up, a chart that wrote it would take it back at
every upgrade. The annotation tells the operator what it is while no sale is live; until it has written it, Kubernetes'
own default of 1 holds.
*/}}
{{- define "doorbuster.hpa" -}}
{{- if (.root.Values.hpa | default dict).enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
  annotations:
    doorbuster.dev/base-min-replicas: {{ .root.Values.hpa.baseMinReplicas | quote }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "doorbuster.name" . }}
  maxReplicas: {{ .root.Values.hpa.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .root.Values.hpa.targetCpuUtilizationPercent }}
{{- end }}
{{- end -}}

{{- define "doorbuster.pdb" -}}
{{- if .root.Values.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .root.Values.pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "doorbuster.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Who may call whom: "<chart>.callers" and "<chart>.neighbours" list the parts of both sides. */}}
{{- define "doorbuster.networkPolicy" -}}
{{- if .root.Values.networkPolicy.enabled }}
{{- $context := . }}
{{- $callers := include (printf "doorbuster-%s.callers" .part) .root | fromYamlArray }}
{{- $neighbours := include (printf "doorbuster-%s.neighbours" .part) .root | fromYamlArray }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "doorbuster.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if $callers }}
    - from:
        {{- range $callers }}
        - podSelector:
            matchLabels:
              {{- include "doorbuster.selector" (dict "root" $context.root "part" .) | nindent 14 }}
        {{- end }}
      ports:
        - {port: http, protocol: TCP}
    {{- end }}
    {{- if .balanced }}
    - from:
        {{- toYaml .root.Values.networkPolicy.publicFrom | nindent 8 }}
      ports:
        - {port: http, protocol: TCP}
    {{- end }}
    {{- with .root.Values.networkPolicy.metricsFrom }}
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - {port: admin, protocol: TCP}
    {{- end }}
  egress:
    {{- toYaml .root.Values.networkPolicy.dnsEgress | nindent 4 }}
    {{- if $neighbours }}
    - to:
        {{- range $neighbours }}
        - podSelector:
            matchLabels:
              {{- include "doorbuster.selector" (dict "root" $context.root "part" .) | nindent 14 }}
        {{- end }}
      ports:
        - {port: 8080, protocol: TCP}
    {{- end }}
    {{- with .root.Values.networkPolicy.storeEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "doorbuster.serviceMonitor" -}}
{{- if .root.Values.serviceMonitor.enabled }}
{{- if .root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
    {{- with .root.Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "doorbuster.selector" . | nindent 6 }}
  endpoints:
    - port: admin
      interval: {{ .root.Values.serviceMonitor.interval }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "doorbuster.ingress" -}}
{{- $ingress := .root.Values.ingress -}}
{{- if or $ingress.enabled .root.Values.httpRoute.enabled }}
{{- if not .root.Values.config.trustedProxies }}
{{- fail "\nconfig.trustedProxies names the networks of the ingress controller: without it the whole shop counts as one client" }}
{{- end }}
{{- end }}
{{- if $ingress.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $ingress.tlsSecret }}
  tls:
    - secretName: {{ . }}
      hosts: [{{ required "\ningress.tlsSecret needs ingress.host" $ingress.host | quote }}]
  {{- end }}
  rules:
    - http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "doorbuster.name" . }}
                port: {name: http}
      {{- with $ingress.host }}
      host: {{ . | quote }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "doorbuster.httpRoute" -}}
{{- $route := .root.Values.httpRoute -}}
{{- if and $route.enabled (.root.Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1") }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "doorbuster.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "doorbuster.labels" . | nindent 4 }}
spec:
  parentRefs:
    {{- toYaml (required "\nhttpRoute.enabled needs httpRoute.parentRefs" $route.parentRefs) | nindent 4 }}
  {{- with $route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - backendRefs:
        - name: {{ include "doorbuster.name" . }}
          port: 8080
{{- end }}
{{- end -}}
