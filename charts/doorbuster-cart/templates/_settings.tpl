{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-cart.settings" -}}
- {name: DOORBUSTER_CART_DSN, secret: cart-dsn, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_REDIS_URL, secret: redis-url, required: true}
- {name: DOORBUSTER_PRODUCT_URLS, neighbour: product, value: productUrls}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-cart.callers" -}}
- "gateway"
- "checkout"
{{- end -}}

{{- define "doorbuster-cart.neighbours" -}}
- "product"
- "inventory"
- "user"
{{- end -}}
