"""Reserve releases a buyer's own holds that are over before it counts what he has."""

from doorbuster.inventory.migrations import sql_files

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the functions again."""
    sql_files.run(*sql_files.FUNCTIONS)
