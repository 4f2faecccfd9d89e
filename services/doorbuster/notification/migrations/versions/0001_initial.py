"""One row a letter."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from doorbuster.kit.database import Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "letter",
        sa.Column("order_id", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(80), nullable=False),
        sa.Column("lines", postgresql.JSONB, nullable=False),
        sa.Column("amount_minor", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", Moment, nullable=False),
        sa.Column("written_at", Moment, nullable=False),
        sa.Column("settled_at", Moment),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("traceparent", sa.String(64)),
        sa.Column("tracestate", sa.String(512)),
    )
    op.create_index(
        "letter_due", "letter", ["due_at"], postgresql_where=sa.text("state = 'PENDING'")
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("letter")
