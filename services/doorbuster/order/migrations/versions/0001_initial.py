"""Orders and their history."""

import sqlalchemy as sa
from alembic import op

from doorbuster.kit.database import Moment

revision = "0001"
down_revision = None

_ID = sa.String(80, collation="ascii_bin")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "orders",
        sa.Column("order_id", _ID, primary_key=True),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("placed_at", Moment, nullable=False),
        sa.Column("pay_by", Moment),
        sa.Column("amount_minor", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("lines", sa.JSON),
        sa.Column("payment_id", _ID),
        sa.Column("declined_attempt", sa.Integer, nullable=False),
        sa.Column("check_at", Moment),
        sa.Column("updated_at", Moment, nullable=False),
        sa.Index("orders_of_user", "user_id", "placed_at", "order_id"),
        sa.Index("orders_to_check", "check_at"),
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )
    op.create_table(
        "order_history",
        sa.Column("order_id", _ID, primary_key=True),
        sa.Column("state", sa.String(16), primary_key=True),
        sa.Column("reached_at", Moment, nullable=False),
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("order_history")
    op.drop_table("orders")
