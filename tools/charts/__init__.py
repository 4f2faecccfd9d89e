"""Helm charts of the services, made from what the services themselves say: their settings and their callers."""
