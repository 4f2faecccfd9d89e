"""One row a letter and channel; letters can be driven again; what users prefer."""

import sqlalchemy as sa
from alembic import op

from doorbuster.kit.database import Moment

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, widen the key, make the table of preferences."""
    op.add_column(
        "letter", sa.Column("channel", sa.String(8), nullable=False, server_default="email")
    )
    op.alter_column("letter", "channel", server_default=None)
    op.add_column("letter", sa.Column("carrier", sa.String(200)))
    op.add_column("letter", sa.Column("tracking_number", sa.String(100)))
    op.add_column("letter", sa.Column("estimated_delivery", Moment))
    op.add_column("letter", sa.Column("waiting_since", Moment))
    op.execute("UPDATE letter SET waiting_since = written_at")
    op.alter_column("letter", "waiting_since", nullable=False)
    op.drop_constraint("letter_pkey", "letter", type_="primary")
    op.create_primary_key("letter_pkey", "letter", ["order_id", "kind", "channel"])
    op.drop_index("letter_due", "letter")
    op.create_index(
        "letter_due",
        "letter",
        ["channel", "due_at"],
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index("letter_state", "letter", ["state", "written_at"])
    op.create_table(
        "preference",
        sa.Column("user_id", sa.String(80), primary_key=True),
        sa.Column("email", sa.Boolean, nullable=False),
        sa.Column("sms", sa.Boolean, nullable=False),
        sa.Column("changed_at", Moment, nullable=False),
    )


def downgrade() -> None:
    """Go back; text messages are forgotten."""
    op.drop_table("preference")
    op.execute("DELETE FROM letter WHERE channel <> 'email'")
    op.drop_index("letter_state", "letter")
    op.drop_index("letter_due", "letter")
    op.create_index(
        "letter_due", "letter", ["due_at"], postgresql_where=sa.text("state = 'PENDING'")
    )
    op.drop_constraint("letter_pkey", "letter", type_="primary")
    op.create_primary_key("letter_pkey", "letter", ["order_id", "kind"])
    for column in ("waiting_since", "estimated_delivery", "tracking_number", "carrier", "channel"):
        op.drop_column("letter", column)
