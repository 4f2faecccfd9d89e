"""The attempts and the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from doorbuster.kit.database import Moment

revision = "0001"
down_revision = None

# A live attempt keeps every other one of its order out: NULL is no duplicate of NULL, 1 is one of 1.
_LIVE = (
    "CASE WHEN state IN ('NEW', 'CONFIRMING', 'CANCELLING', 'AUTHORISED', 'CAPTURING', 'CAPTURED',"
    " 'VOIDING', 'REFUNDING') THEN 1 END"
)


def _exact(length: int) -> sa.types.TypeEngine[str]:
    binary = mysql.VARCHAR(length, collation="utf8mb4_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "payment",
        sa.Column("order_id", _exact(80), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("payment_id", _exact(80), nullable=False),
        sa.Column("user_id", _exact(80), nullable=False),
        sa.Column("idempotency_key", _exact(200), nullable=False),
        sa.Column("fingerprint", _exact(64), nullable=False),
        sa.Column("state", _exact(20), nullable=False),
        sa.Column("live", sa.SmallInteger, sa.Computed(_LIVE, persisted=True)),
        sa.Column("lines", sa.JSON, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("topic", sa.String(249), nullable=False),
        sa.Column("traceparent", sa.String(64)),
        sa.Column("intent_id", sa.String(255)),
        sa.Column("token", sa.String(255)),
        sa.Column("brand", sa.String(32)),
        sa.Column("last4", sa.String(4)),
        sa.Column("decline_code", sa.String(64)),
        sa.Column("reversal", sa.String(64)),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.Column("paid_at", Moment),
        sa.Column("due_at", Moment),
        sa.Column("ask_order_at", Moment),
        sa.PrimaryKeyConstraint("order_id", "attempt"),
        sa.UniqueConstraint("payment_id", name="payment_by_id"),
        sa.UniqueConstraint("order_id", "idempotency_key", name="payment_by_key"),
        sa.UniqueConstraint("order_id", "live", name="payment_one_live"),
        sa.CheckConstraint("amount_minor >= 0", name="payment_amount"),
        sa.CheckConstraint(
            "state IN ('NEW', 'DECLINED', 'ABANDONED') OR intent_id IS NOT NULL",
            name="payment_intent",
        ),
    )
    op.create_index("payment_due", "payment", ["due_at"])
    op.create_index("payment_ask_order", "payment", ["ask_order_at"])
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
    """Forget everything."""
    op.drop_table("outbox")
    op.drop_table("payment")
