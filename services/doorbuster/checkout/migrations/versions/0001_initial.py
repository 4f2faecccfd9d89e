"""The placed orders and the outbox."""

import sqlalchemy as sa
from alembic import op

from doorbuster.kit.database import Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "placed_order",
        sa.Column("order_id", sa.String(80), primary_key=True),
        sa.Column("user_id", sa.String(80), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("pay_by", Moment, nullable=False),
        sa.Column("placed_at", Moment, nullable=False),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=True),
        sa.CheckConstraint("amount_minor >= 0", name="placed_order_amount"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("event_key", sa.String(80), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=True),
        sa.Column("tracestate", sa.String(512), nullable=True),
        sa.Column("occurred_at", Moment, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("outbox")
    op.drop_table("placed_order")
