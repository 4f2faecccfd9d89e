"""Stock, sales, reservations, returns of permits, the outbox, and the functions that move them."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

_FILES = ("tables", "stock", "reserve", "transitions")


def upgrade() -> None:
    """Run the SQL files in their order."""
    folder = Path(__file__).parent.parent / "sql"
    for name in _FILES:
        for statement in _statements((folder / f"{name}.sql").read_text(encoding="utf-8")):
            op.get_bind().exec_driver_sql(statement)


def _statements(text: str) -> list[str]:
    """Split at semicolons that end a line outside of a $$ body."""
    parts: list[str] = []
    current: list[str] = []
    inside = False
    for line in text.splitlines():
        if not current and (not line.strip() or line.startswith("--")):
            continue
        current.append(line)
        inside ^= line.count("$$") % 2 == 1
        if line.endswith(";") and not inside:
            parts.append("\n".join(current))
            current = []
    return parts
