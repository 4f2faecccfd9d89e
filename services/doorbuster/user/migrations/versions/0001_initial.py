"""Accounts, sessions with their refresh tokens, signing keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

_MOMENT = mysql.DATETIME(fsp=6)


def _ascii(length: int) -> mysql.VARCHAR:
    return mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")


def _exact(length: int) -> mysql.VARCHAR:
    return mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        sa.Column("user_id", _ascii(40), primary_key=True),
        sa.Column("email", _exact(254), nullable=False),
        sa.Column("email_key", _exact(254), nullable=False, unique=True),
        sa.Column("name", _exact(200), nullable=False),
        sa.Column("password_hash", _ascii(255), nullable=False),
        sa.Column("role", _ascii(16), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.CheckConstraint("role IN ('buyer', 'merchant', 'admin')", name="users_role"),
        mysql_engine="InnoDB",
        mysql_row_format="DYNAMIC",
    )
    op.create_table(
        "user_session",
        sa.Column("session_id", _ascii(40), primary_key=True),
        sa.Column("user_id", _ascii(40), sa.ForeignKey("users.user_id"), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False, index=True),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.Index("user_session_of_user", "user_id", "created_at"),
        mysql_engine="InnoDB",
    )
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", _ascii(64), primary_key=True),
        sa.Column(
            "session_id",
            _ascii(40),
            sa.ForeignKey("user_session.session_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False, index=True),
        sa.Column("used_at", _MOMENT, nullable=True),
        mysql_engine="InnoDB",
    )
    op.create_table(
        "signing_key",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kid", _ascii(64), nullable=False, unique=True),
        sa.Column("public_pem", sa.Text, nullable=False),
        sa.Column("sealed_private", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        mysql_engine="InnoDB",
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("signing_key", "refresh_token", "user_session", "users"):
        op.drop_table(name)
