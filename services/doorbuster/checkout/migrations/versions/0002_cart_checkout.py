"""What a total is made of, the address and the discount of an order; the discounts and their uses."""

import sqlalchemy as sa
from alembic import op

from doorbuster.kit.database import Moment

revision = "0002"
down_revision = "0001"
_PARTS = ("subtotal_minor", "discount_minor", "shipping_minor", "tax_minor")


def upgrade() -> None:
    """Add the columns and make the tables; orders from before know only their amount."""
    for name in _PARTS:
        op.add_column("placed_order", sa.Column(name, sa.BigInteger, nullable=True))
    op.add_column("placed_order", sa.Column("address", sa.Text, nullable=True))
    op.add_column("placed_order", sa.Column("discount_code", sa.String(32), nullable=True))
    op.create_check_constraint(
        "placed_order_totals",
        "placed_order",
        "subtotal_minor - discount_minor + shipping_minor + tax_minor = amount_minor"
        " AND discount_minor BETWEEN 0 AND subtotal_minor AND shipping_minor >= 0 AND tax_minor >= 0",
    )
    op.create_table(
        "discount",
        sa.Column("code", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("percent", sa.Integer, nullable=True),
        sa.Column("amount_minor", sa.BigInteger, nullable=True),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("minimum_minor", sa.BigInteger, nullable=True),
        sa.Column("valid_from", Moment, nullable=True),
        sa.Column("valid_until", Moment, nullable=True),
        sa.Column("total_uses", sa.Integer, nullable=True),
        sa.Column("uses_per_user", sa.Integer, nullable=True),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("is_ended", sa.Boolean, nullable=False),
        sa.CheckConstraint("used >= 0", name="discount_used"),
    )
    op.create_table(
        "discount_use",
        sa.Column("order_id", sa.String(80), primary_key=True),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(80), nullable=False),
        sa.Column("due_at", Moment, nullable=False),
        sa.Column("check_at", Moment, nullable=True),
    )
    op.create_index("discount_use_code_user", "discount_use", ["code", "user_id"])
    for name in ("check_at", "due_at"):
        op.create_index(
            f"discount_use_{name}",
            "discount_use",
            [name],
            postgresql_where=sa.text("check_at IS NOT NULL"),
        )


def downgrade() -> None:
    """Drop the tables and the columns."""
    op.drop_table("discount_use")
    op.drop_table("discount")
    op.drop_constraint("placed_order_totals", "placed_order")
    for name in (*_PARTS, "address", "discount_code"):
        op.drop_column("placed_order", name)
