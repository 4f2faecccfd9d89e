{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-payment.settings" -}}
- {name: DOORBUSTER_PAYMENT_DSN, secret: payment-dsn, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_CHECKOUT_URLS, neighbour: checkout, value: checkoutUrls}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_ORDER_URLS, neighbour: order, value: orderUrls}
- {name: DOORBUSTER_PSP_URL, key: pspUrl, required: true}
- {name: DOORBUSTER_PSP_KEY, secret: psp-key, required: true}
- {name: DOORBUSTER_PSP_WEBHOOK_SECRET, secret: psp-webhook-secret}
- {name: DOORBUSTER_ALLOW_RAW_CARDS, key: allowRawCards}
- {name: DOORBUSTER_PAYMENT_ANSWER_SECONDS, key: paymentAnswerSeconds}
- {name: DOORBUSTER_PAYMENT_RECOVER_SECONDS, key: paymentRecoverSeconds}
- {name: DOORBUSTER_PAYMENT_ORDER_KNOWN_SECONDS, key: paymentOrderKnownSeconds}
- {name: DOORBUSTER_PAYMENT_AGAIN_SECONDS, key: paymentAgainSeconds}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-payment.callers" -}}
- "gateway"
- "inventory"
{{- end -}}

{{- define "doorbuster-payment.neighbours" -}}
- "user"
- "checkout"
- "inventory"
- "order"
{{- end -}}
