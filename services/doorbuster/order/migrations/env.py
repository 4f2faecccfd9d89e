"""Alembic's entry to the order service's schema history."""

from doorbuster.kit import migrations

migrations.run_env()
