"""Alembic's entry point for checkout's schema."""

from doorbuster.kit import migrations

migrations.run_env()
