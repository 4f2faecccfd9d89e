"""Shipments, returns, money that came back, everybody's orders by time, and the outbox."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from doorbuster.kit.database import Moment

revision = "0002"
down_revision = "0001"

_INDEXES = {
    "orders_to_tell": ["tell_at"],
    "orders_by_time": ["placed_at", "order_id"],
    "orders_by_state": ["state", "placed_at", "order_id"],
}


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("tell_at", Moment),
        sa.Column("carrier", sa.String(200)),
        sa.Column("tracking_number", sa.String(100)),
        sa.Column("estimated_delivery", Moment),
        sa.Column("shipped_at", Moment),
        sa.Column("return_requested_at", Moment),
        sa.Column("reversed_at", Moment),
        sa.Column("words", sa.String(500), nullable=False, server_default=""),
    ]


def upgrade() -> None:
    """Add what fulfilment needs."""
    for column in _columns():
        op.add_column("orders", column)
    # Until now an order was only ever cancelled by the reversal of its payment.
    op.execute("UPDATE orders SET reversed_at = updated_at WHERE state = 'CANCELLED'")
    for name, columns in _INDEXES.items():
        op.create_index(name, "orders", columns)
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
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("outbox")
    for name in _INDEXES:
        op.drop_index(name, "orders")
    for column in _columns():
        op.drop_column("orders", column.name)
