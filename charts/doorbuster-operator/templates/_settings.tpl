{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-operator.settings" -}}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_OPERATOR_LEASE, key: operatorLease}
- {name: DOORBUSTER_OPERATOR_RELIST_SECONDS, key: operatorRelistSeconds}
- {name: DOORBUSTER_OPERATOR_WATCH_SECONDS, key: operatorWatchSeconds}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-operator.callers" -}}
[]
{{- end -}}

{{- define "doorbuster-operator.neighbours" -}}
- "inventory"
{{- end -}}
