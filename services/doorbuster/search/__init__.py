"""The search for products, on Elasticsearch."""
