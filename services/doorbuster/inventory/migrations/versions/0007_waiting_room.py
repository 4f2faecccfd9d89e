"""How many buyers a second the waiting room of a sale lets in; none where it has no waiting room."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; a copy of the service that does not know it leaves it as it is."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE sale ADD COLUMN admit_per_second integer CHECK (admit_per_second > 0)"
    )
