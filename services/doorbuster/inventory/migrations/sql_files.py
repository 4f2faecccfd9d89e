"""Runs the SQL files beside it: the tables once, the functions again whenever a revision changes one of them."""

from pathlib import Path

from alembic import op

FUNCTIONS = ("stock", "reserve", "transitions")
_FOLDER = Path(__file__).parent / "sql"


def run(*names: str) -> None:
    """Run these files in their order, statement by statement."""
    for name in names:
        for statement in _statements((_FOLDER / f"{name}.sql").read_text(encoding="utf-8")):
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
