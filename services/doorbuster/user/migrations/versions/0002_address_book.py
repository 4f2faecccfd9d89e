"""Phones, address books, and how often somebody guessed wrong."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

_MOMENT = mysql.DATETIME(fsp=6)


def _ascii(length: int) -> mysql.VARCHAR:
    return mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")


def upgrade() -> None:
    """Add the column and make the tables."""
    op.add_column("users", sa.Column("phone", _ascii(16), nullable=True))
    op.create_table(
        "user_address",
        sa.Column("address_id", _ascii(40), primary_key=True),
        sa.Column("user_id", _ascii(40), sa.ForeignKey("users.user_id"), nullable=False),
        sa.Column("details", mysql.TEXT(charset="utf8mb4"), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Index("user_address_of_user", "user_id", "created_at"),
        mysql_engine="InnoDB",
    )
    op.create_table(
        "guard",
        sa.Column("guard_key", _ascii(64), primary_key=True),
        sa.Column("busy_until", _MOMENT, nullable=False),
        sa.Column("trusted_until", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False, index=True),
        mysql_engine="InnoDB",
    )


def downgrade() -> None:
    """Drop the tables and the column."""
    op.drop_table("guard")
    op.drop_table("user_address")
    op.drop_column("users", "phone")
