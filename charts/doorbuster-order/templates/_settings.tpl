{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-order.settings" -}}
- {name: DOORBUSTER_ORDER_DSN, secret: order-dsn, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_CHECKOUT_URLS, neighbour: checkout, value: checkoutUrls}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-order.callers" -}}
- "gateway"
- "payment"
{{- end -}}

{{- define "doorbuster-order.neighbours" -}}
- "user"
- "checkout"
- "inventory"
{{- end -}}
