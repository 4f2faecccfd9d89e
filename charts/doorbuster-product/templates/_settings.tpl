{{/* Made by `make charts`; do not edit. */}}

{{- define "doorbuster-product.settings" -}}
- {name: DOORBUSTER_MONGO_URL, secret: mongo-url, required: true}
- {name: DOORBUSTER_REDIS_URL, secret: redis-url, required: true}
- {name: DOORBUSTER_KAFKA_BOOTSTRAP, key: kafkaBootstrap, required: true}
- {name: DOORBUSTER_S3_URL, key: s3Url, required: true}
- {name: DOORBUSTER_S3_BUCKET, key: s3Bucket, required: true}
- {name: DOORBUSTER_S3_ACCESS_KEY, key: s3AccessKey, required: true}
- {name: DOORBUSTER_S3_SECRET_KEY, secret: s3-secret-key, required: true}
- {name: DOORBUSTER_S3_REGION, key: s3Region}
- {name: DOORBUSTER_CDN_URL, key: cdnUrl, required: true}
- {name: DOORBUSTER_INVENTORY_URLS, neighbour: inventory, value: inventoryUrls}
- {name: DOORBUSTER_USER_URLS, neighbour: user, value: userUrls}
- {name: DOORBUSTER_LOG_LEVEL, key: logLevel}
- {name: DOORBUSTER_DRAIN_SECONDS, key: drainSeconds}
{{- end -}}

{{- define "doorbuster-product.callers" -}}
- "gateway"
- "search"
- "cart"
- "checkout"
- "notification"
{{- end -}}

{{- define "doorbuster-product.neighbours" -}}
- "inventory"
- "user"
{{- end -}}
