"""Alembic's entry to the cart service's schema history."""

from doorbuster.kit import migrations

migrations.run_env()
