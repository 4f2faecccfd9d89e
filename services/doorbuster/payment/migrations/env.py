"""Alembic's entry point for payment."""

from doorbuster.kit import migrations

migrations.run_env()
