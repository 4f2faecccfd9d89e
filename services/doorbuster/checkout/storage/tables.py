"""The tables of checkout's database."""

import sqlalchemy as sa

from doorbuster.kit import outbox
from doorbuster.kit.database import Moment

METADATA = sa.MetaData()
PLACED_ORDER = sa.Table(
    "placed_order",
    METADATA,
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
    sa.Column("subtotal_minor", sa.BigInteger, nullable=True),
    sa.Column("discount_minor", sa.BigInteger, nullable=True),
    sa.Column("shipping_minor", sa.BigInteger, nullable=True),
    sa.Column("tax_minor", sa.BigInteger, nullable=True),
    sa.Column("address", sa.Text, nullable=True),
    sa.Column("discount_code", sa.String(32), nullable=True),
)
OUTBOX = outbox.table(METADATA)
DISCOUNT = sa.Table(
    "discount",
    METADATA,
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
)
# One use by one order that is placed and alive. ``due_at`` is when its end should be known; ``check_at``, when the
# sweep looks (again), is null once the order is paid.
DISCOUNT_USE = sa.Table(
    "discount_use",
    METADATA,
    sa.Column("order_id", sa.String(80), primary_key=True),
    sa.Column("code", sa.String(32), nullable=False),
    sa.Column("user_id", sa.String(80), nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("check_at", Moment, nullable=True),
)
