"""The operator; kept empty so that its pure rooms import without kopf."""
