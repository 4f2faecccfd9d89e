{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-notification.settings" -}}
- {name: DOORBUSTER_NOTIFICATION_DSN, secret: notification-dsn, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_SMTP_URL, secret: smtp-url, required: true}
- {name: DOORBUSTER_MAIL_FROM, key: mailFrom, required: true}
- {name: DOORBUSTER_PRODUCT_URLS, neighbour: product, value: productUrls}
- {name: DOORBUSTER_SMS_URL, key: smsUrl}
- {name: DOORBUSTER_SMS_ACCOUNT, key: smsAccount}
- {name: DOORBUSTER_SMS_TOKEN, secret: sms-token}
- {name: DOORBUSTER_SMS_FROM, key: smsFrom}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-notification.callers" -}}
- "gateway"
{{- end -}}

{{- define "doorbuster-notification.neighbours" -}}
- "user"
- "product"
{{- end -}}
