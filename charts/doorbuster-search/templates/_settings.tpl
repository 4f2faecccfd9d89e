{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-search.settings" -}}
- {name: DOORBUSTER_ELASTICSEARCH_URL, secret: elasticsearch-url, required: true}
- {name: DOORBUSTER_PRODUCT_URLS, neighbour: product, value: productUrls}
- {name: DOORBUSTER_SEARCH_REPLICAS, key: searchReplicas}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_REDIS_URL, secret: redis-url, required: true}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_CDN_URL, key: cdnUrl, required: true}
- {name: DOORBUSTER_SEARCH_TIMEOUT_SECONDS, key: searchTimeoutSeconds}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-search.callers" -}}
- "gateway"
{{- end -}}

{{- define "doorbuster-search.neighbours" -}}
- "product"
- "inventory"
{{- end -}}
