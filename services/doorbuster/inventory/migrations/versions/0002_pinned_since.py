"""Since when an order is pinned, and functions that lock sales in one order and ask about pins again sooner."""

from alembic import op

from doorbuster.inventory.migrations import sql_files

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; the functions are run again, one of them with an argument more."""
    op.get_bind().exec_driver_sql("ALTER TABLE reservation ADD COLUMN pinned_at timestamptz")
    op.get_bind().exec_driver_sql("DROP FUNCTION IF EXISTS stale_pins(double precision, integer)")
    sql_files.run(*sql_files.FUNCTIONS)
