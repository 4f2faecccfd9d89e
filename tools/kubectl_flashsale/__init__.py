"""``kubectl flashsale``: sales for the people who run them, through the Kubernetes API alone."""
