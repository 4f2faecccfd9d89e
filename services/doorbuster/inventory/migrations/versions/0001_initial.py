"""Stock, sales, reservations, returns of permits, the outbox, and the functions that move them."""

from doorbuster.inventory.migrations import sql_files

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables, then the functions as they are now: later revisions only run them again."""
    sql_files.run("tables", *sql_files.FUNCTIONS)
