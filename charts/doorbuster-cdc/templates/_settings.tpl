{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-cdc.settings" -}}
- {name: DOORBUSTER_CONNECT_URL, key: connectUrl, required: true}
- {name: DOORBUSTER_CDC_POSTGRES_DSN, secret: cdc-postgres-dsn, required: true}
- {name: DOORBUSTER_CDC_MONGO_URL, secret: cdc-mongo-url, required: true}
- {name: DOORBUSTER_CDC_PARTITIONS, key: cdcPartitions}
- {name: DOORBUSTER_CDC_REPLICATION, key: cdcReplication}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-cdc.callers" -}}
[]
{{- end -}}

{{- define "doorbuster-cdc.neighbours" -}}
[]
{{- end -}}
