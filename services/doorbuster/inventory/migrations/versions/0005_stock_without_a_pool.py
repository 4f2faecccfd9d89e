"""Stock of products that no pool or sale has named by their sku yet; a release tells which orders it released."""

from alembic import op

from doorbuster.inventory.migrations import sql_files

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Let the sku be unknown; the functions are run again, one of them with another answer."""
    op.get_bind().exec_driver_sql("ALTER TABLE inventory ALTER COLUMN sku DROP NOT NULL")
    op.get_bind().exec_driver_sql("DROP FUNCTION IF EXISTS expire_holds(integer)")
    sql_files.run(*sql_files.FUNCTIONS)
