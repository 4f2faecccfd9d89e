"""Carts, each of one user or of whoever has its token, and the orders that were taken out of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from doorbuster.kit.database import Moment

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cart",
        sa.Column("cart_id", sa.String(40), primary_key=True),
        sa.Column("user_id", sa.String(40), unique=True),
        sa.Column("token_hash", sa.String(64), unique=True),
        sa.Column("products", postgresql.JSONB, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.CheckConstraint("(user_id IS NULL) <> (token_hash IS NULL)", name="cart_one_owner"),
        sa.CheckConstraint("jsonb_array_length(products) <= 50", name="cart_lines"),
    )
    op.create_index(
        "cart_of_nobody", "cart", ["updated_at"], postgresql_where=sa.text("user_id IS NULL")
    )
    op.create_table(
        "bought_order",
        sa.Column("order_id", sa.String(40), primary_key=True),
        sa.Column("paid_at", Moment, nullable=False, index=True),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("bought_order")
    op.drop_table("cart")
