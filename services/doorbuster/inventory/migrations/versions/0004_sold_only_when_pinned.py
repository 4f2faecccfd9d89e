"""Only what is pinned is sold: a success that comes after the attempt's final word moves nothing."""

from doorbuster.inventory.migrations import sql_files

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the functions again."""
    sql_files.run(*sql_files.FUNCTIONS)
