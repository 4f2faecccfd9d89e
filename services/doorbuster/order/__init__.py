"""The orders as buyers see them: an idempotent projection of events, on a MySQL store."""
