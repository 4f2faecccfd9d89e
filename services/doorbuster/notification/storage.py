"""Letters in PostgreSQL: one row a letter, claimed by one worker at a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.contracts import events
from doorbuster.kit.database import Moment

from .domain import Kind, Letter, Outcome
from .ports import Claim

_LONGEST_WHY = 200
# In the text of the statement, so that the partial index always serves it.
_WAITING = sa.literal(Outcome.LATER.value, literal_execute=True)
metadata = sa.MetaData()
LETTER = sa.Table(
    "letter",
    metadata,
    sa.Column("order_id", sa.String(80), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("user_id", sa.String(80), nullable=False),
    sa.Column("lines", postgresql.JSONB, nullable=False),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.String(3)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("written_at", Moment, nullable=False),
    sa.Column("settled_at", Moment),
    sa.Column("why", sa.String(_LONGEST_WHY), nullable=False),
    sa.Column("traceparent", sa.String(64)),
    sa.Column("tracestate", sa.String(512)),
)


class PostgresLetterStore:
    """One row a letter; the primary key (order, kind) makes redelivered events harmless."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(
        self, letters: Sequence[tuple[Letter, Mapping[str, str]]], now: datetime
    ) -> None:
        """Add letters in one transaction; those that are known stay as they are."""
        if not letters:
            return
        rows = {(letter.order_id, letter.kind): (letter, carrier) for letter, carrier in letters}
        # Sorted, so that two consumers that write the same letters wait for each other and never in a ring.
        values = [_row(letter, carrier, now) for _, (letter, carrier) in sorted(rows.items())]
        statement = postgresql.insert(LETTER).values(values).on_conflict_do_nothing()
        async with self._engine.begin() as connection:
            await connection.execute(statement)

    async def claim(self, now: datetime, *, limit: int, leased_until: datetime) -> list[Claim]:
        """Return letters that are due and put them off to ``leased_until``."""
        due = (
            sa.select(LETTER.c.order_id, LETTER.c.kind)
            .where(LETTER.c.state == _WAITING, LETTER.c.due_at <= now)
            .order_by(LETTER.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        confirmation = LETTER.alias("confirmation")
        confirmed = (
            sa.exists()
            .where(
                confirmation.c.order_id == LETTER.c.order_id,
                confirmation.c.kind == Kind.CONFIRMED.value,
            )
            .label("confirmed")
        )
        claiming = (
            sa.update(LETTER)
            .where(LETTER.c.order_id == due.c.order_id, LETTER.c.kind == due.c.kind)
            .values(due_at=leased_until, attempts=LETTER.c.attempts + 1)
            .returning(LETTER, confirmed)
        )
        async with self._engine.begin() as connection:
            rows = (await connection.execute(claiming)).mappings().all()
        return [_claim(row) for row in rows]

    async def waiting_since(self) -> datetime | None:
        """Return when the oldest letter was written that still waits; None when none does."""
        query = sa.select(sa.func.min(LETTER.c.written_at)).where(LETTER.c.state == _WAITING)
        async with self._engine.connect() as connection:
            found: datetime | None = await connection.scalar(query)
        return found

    async def settle(
        self, letter: Letter, outcome: Outcome, *, at: datetime, again_at: datetime, why: str
    ) -> None:
        """Store how the attempt ended; a letter that is settled already stays so."""
        values: dict[str, Any] = {"state": outcome.value, "why": why[:_LONGEST_WHY]}
        values |= {"due_at": again_at} if outcome is Outcome.LATER else {"settled_at": at}
        mine = sa.and_(
            LETTER.c.order_id == letter.order_id,
            LETTER.c.kind == letter.kind.value,
            LETTER.c.state == Outcome.LATER.value,
        )
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(LETTER).where(mine).values(values))


def _row(letter: Letter, carrier: Mapping[str, str], now: datetime) -> dict[str, Any]:
    return {
        "order_id": letter.order_id,
        "kind": letter.kind.value,
        "user_id": letter.user_id,
        "lines": msgspec.to_builtins(letter.lines),
        "amount_minor": letter.amount_minor,
        "currency": letter.currency,
        "state": Outcome.LATER.value,
        "attempts": 0,
        "due_at": now,
        "written_at": now,
        "why": "",
        "traceparent": carrier.get("traceparent"),
        "tracestate": carrier.get("tracestate"),
    }


def _claim(row: Any) -> Claim:
    return Claim(
        letter=Letter(
            order_id=row["order_id"],
            kind=Kind(row["kind"]),
            user_id=row["user_id"],
            lines=msgspec.convert(row["lines"], tuple[events.Line, ...]),
            amount_minor=row["amount_minor"],
            currency=row["currency"],
        ),
        attempts=row["attempts"],
        written_at=row["written_at"],
        confirmed=row["confirmed"],
        carrier={name: row[name] for name in ("traceparent", "tracestate") if row[name]},
    )
