{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-gateway.settings" -}}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_CHECKOUT_URLS, neighbour: checkout, value: checkoutUrls}
- {name: DOORBUSTER_PAYMENT_URLS, neighbour: payment, value: paymentUrls}
- {name: DOORBUSTER_ORDER_URLS, neighbour: order, value: orderUrls}
- {name: DOORBUSTER_PRODUCT_URLS, neighbour: product, value: productUrls}
- {name: DOORBUSTER_SEARCH_URLS, neighbour: search, value: searchUrls}
- {name: DOORBUSTER_CART_URLS, neighbour: cart, value: cartUrls}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_NOTIFICATION_URLS, neighbour: notification, value: notificationUrls}
- {name: DOORBUSTER_REDIS_URL, secret: redis-url, required: true}
- {name: DOORBUSTER_TRUSTED_PROXIES, key: trustedProxies}
- {name: DOORBUSTER_RATE_ADDRESS, key: rateAddress}
- {name: DOORBUSTER_RATE_USER, key: rateUser}
- {name: DOORBUSTER_RATE_SIGN_UP, key: rateSignUp}
- {name: DOORBUSTER_RATE_LOG_IN, key: rateLogIn}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-gateway.callers" -}}
[]
{{- end -}}

{{- define "doorbuster-gateway.neighbours" -}}
- "user"
- "checkout"
- "payment"
- "order"
- "product"
- "search"
- "cart"
- "inventory"
- "notification"
{{- end -}}
