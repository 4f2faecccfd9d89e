{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-checkout.settings" -}}
- {name: DOORBUSTER_CHECKOUT_DSN, secret: checkout-dsn, required: true}
- {name: DOORBUSTER_REDIS_URL, secret: redis-url, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_PRODUCT_URLS, neighbour: product, value: productUrls}
- {name: DOORBUSTER_CART_URLS, neighbour: cart, value: cartUrls}
- {name: DOORBUSTER_CHECKOUT_MOST_PER_PRODUCT, key: checkoutMostPerProduct}
- {name: DOORBUSTER_CHECKOUT_MOST_DIRECT, key: checkoutMostDirect}
- {name: DOORBUSTER_PERMIT_SECONDS, key: permitSeconds}
- {name: DOORBUSTER_SHIPPING, key: shipping}
- {name: DOORBUSTER_TAX_PERCENT, key: taxPercent}
- {name: DOORBUSTER_SMALLEST_CHARGE, key: smallestCharge}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-checkout.callers" -}}
- "gateway"
- "payment"
- "order"
{{- end -}}

{{- define "doorbuster-checkout.neighbours" -}}
- "inventory"
- "user"
- "product"
- "cart"
{{- end -}}
