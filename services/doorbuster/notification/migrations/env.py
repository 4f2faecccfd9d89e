"""Alembic's entry to the notification service's schema history."""

from doorbuster.kit import migrations

migrations.run_env()
