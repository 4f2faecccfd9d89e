"""Change data capture may read the stock: a publication is made by the table's owner, which Debezium is not."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the publication."""
    op.execute("CREATE PUBLICATION doorbuster_inventory FOR TABLE inventory")
