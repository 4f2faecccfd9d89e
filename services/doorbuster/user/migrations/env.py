"""Alembic's way into the schema of the user service."""

from doorbuster.kit import migrations

migrations.run_env()
