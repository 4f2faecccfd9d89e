{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-inventory.settings" -}}
- {name: DOORBUSTER_INVENTORY_DSN, secret: inventory-dsn, required: true}
- {name: DOORBUSTER_REDIS_URL, secret: redis-url, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_PAYMENT_URLS, neighbour: payment, value: paymentUrls}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_PIN_SWEEP_SECONDS, key: pinSweepSeconds}
- {name: DOORBUSTER_HOLD_SECONDS, key: holdSeconds}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-inventory.callers" -}}
- "gateway"
- "product"
- "search"
- "cart"
- "checkout"
- "payment"
- "order"
- "operator"
{{- end -}}

{{- define "doorbuster-inventory.neighbours" -}}
- "payment"
- "user"
{{- end -}}
