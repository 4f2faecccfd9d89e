"""Alembic's way into the schema of the inventory service."""

from doorbuster.kit import migrations

migrations.run_env()
