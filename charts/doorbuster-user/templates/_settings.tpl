{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-user.settings" -}}
- {name: DOORBUSTER_USER_DSN, secret: user-dsn, required: true}
- {name: DOORBUSTER_SIGNING_KEY_SECRET, secret: signing-key-secret, required: true}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-user.callers" -}}
- "gateway"
- "product"
- "cart"
- "checkout"
- "inventory"
- "payment"
- "order"
- "notification"
{{- end -}}

{{- define "doorbuster-user.neighbours" -}}
[]
{{- end -}}
