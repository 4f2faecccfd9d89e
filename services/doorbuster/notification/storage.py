"""Letters and preferences in PostgreSQL: one row a letter and channel, claimed by one worker at a time."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.contracts import events
from doorbuster.kit.database import Moment

from .domain import Channel, Kind, Letter, LetterId, Outcome, Preferences
from .ports import Claim, Draft, Record, RecordPage

MOST_COUNTED = 100_000
_LONGEST_WHY = 200
# In the text of the statement, so that the partial index always serves it.
_WAITING = sa.literal(Outcome.LATER.value, literal_execute=True)
metadata = sa.MetaData()
LETTER = sa.Table(
    "letter",
    metadata,
    sa.Column("order_id", sa.String(80), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("channel", sa.String(8), primary_key=True),
    sa.Column("user_id", sa.String(80), nullable=False),
    sa.Column("lines", postgresql.JSONB, nullable=False),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.String(3)),
    sa.Column("carrier", sa.String(200)),
    sa.Column("tracking_number", sa.String(100)),
    sa.Column("estimated_delivery", Moment),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("written_at", Moment, nullable=False),
    sa.Column("waiting_since", Moment, nullable=False),
    sa.Column("settled_at", Moment),
    sa.Column("why", sa.String(_LONGEST_WHY), nullable=False),
    sa.Column("traceparent", sa.String(64)),
    sa.Column("tracestate", sa.String(512)),
)
PREFERENCE = sa.Table(
    "preference",
    metadata,
    sa.Column("user_id", sa.String(80), primary_key=True),
    sa.Column("email", sa.Boolean, nullable=False),
    sa.Column("sms", sa.Boolean, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
)
_ID = (LETTER.c.order_id, LETTER.c.kind, LETTER.c.channel)


class PostgresLetterStore:
    """One row a letter and channel; the primary key makes redelivered events harmless."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, drafts: Sequence[Draft], now: datetime) -> None:
        """Add letters in one transaction; those that are known stay as they are, and so do their channels."""
        firsts: dict[tuple[str, str], Draft] = {}
        for draft in drafts:
            firsts.setdefault((draft.letter.order_id, draft.letter.kind.value), draft)
        if not firsts:
            return
        # Sorted, so that two consumers that write the same letters wait for each other and never in a ring.
        mails = [_row(firsts[key], Channel.EMAIL, now) for key in sorted(firsts)]
        adding = (
            postgresql.insert(LETTER)
            .on_conflict_do_nothing()
            .returning(LETTER.c.order_id, LETTER.c.kind)
        )
        async with self._engine.begin() as connection:
            new = (await connection.execute(adding.values(mails))).all()
            texts = [
                _row(firsts[order_id, kind], Channel.SMS, now)
                for order_id, kind in new
                if Channel.SMS in firsts[order_id, kind].channels
            ]
            if texts:
                await connection.execute(adding.values(texts))

    async def claim(
        self, channel: Channel, now: datetime, *, limit: int, leased_until: datetime
    ) -> list[Claim]:
        """Return letters that are due and put them off to ``leased_until``."""
        due = (
            sa.select(*_ID)
            .where(
                LETTER.c.channel == channel.value,
                LETTER.c.state == _WAITING,
                LETTER.c.due_at <= now,
            )
            .order_by(LETTER.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        other = LETTER.alias("other")
        told = (
            sa.select(sa.func.array_agg(other.c.kind))
            .where(other.c.order_id == LETTER.c.order_id)
            .correlate(LETTER)
            .scalar_subquery()
            .label("told")
        )
        claiming = (
            sa.update(LETTER)
            .where(
                LETTER.c.order_id == due.c.order_id,
                LETTER.c.kind == due.c.kind,
                LETTER.c.channel == due.c.channel,
            )
            .values(due_at=leased_until, attempts=LETTER.c.attempts + 1)
            .returning(LETTER, told)
        )
        async with self._engine.begin() as connection:
            rows = (await connection.execute(claiming)).mappings().all()
        return [_claim(row) for row in rows]

    async def waiting_since(self, channel: Channel) -> datetime | None:
        """Return since when the oldest letter waits; None when none does."""
        query = sa.select(sa.func.min(LETTER.c.waiting_since)).where(
            LETTER.c.channel == channel.value, LETTER.c.state == _WAITING
        )
        async with self._engine.connect() as connection:
            found: datetime | None = await connection.scalar(query)
        return found

    async def settle(
        self, letter_id: LetterId, outcome: Outcome, *, at: datetime, again_at: datetime, why: str
    ) -> None:
        """Store how the attempt ended; a letter that is settled already stays so."""
        values: dict[str, Any] = {"state": outcome.value, "why": why[:_LONGEST_WHY]}
        values |= {"due_at": again_at} if outcome is Outcome.LATER else {"settled_at": at}
        mine = sa.and_(
            LETTER.c.order_id == letter_id.order_id,
            LETTER.c.kind == letter_id.kind.value,
            LETTER.c.channel == letter_id.channel.value,
            LETTER.c.state == Outcome.LATER.value,
        )
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(LETTER).where(mine).values(values))

    async def page(self, outcome: Outcome, *, offset: int, limit: int) -> RecordPage:
        """Return letters in this state, newest first."""
        in_state = LETTER.c.state == outcome.value
        counted = sa.select(sa.literal(1)).where(in_state).limit(MOST_COUNTED).subquery()
        asked = (
            sa.select(*_ID, LETTER.c.attempts, LETTER.c.written_at, LETTER.c.why)
            .where(in_state)
            .order_by(LETTER.c.written_at.desc(), *_ID)
            .offset(offset)
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            total = await connection.scalar(sa.select(sa.func.count()).select_from(counted))
            rows = (await connection.execute(asked)).mappings().all()
        records = [
            Record(
                letter_id=_letter_id(row),
                outcome=outcome,
                attempts=row["attempts"],
                written_at=row["written_at"],
                why=row["why"],
            )
            for row in rows
        ]
        return RecordPage(records=records, total=total or 0)

    async def redrive(
        self, chosen: Collection[LetterId] | None, now: datetime, *, limit: int
    ) -> int:
        """Make failed letters due at once, these or (None) the oldest; returns how many."""
        failed = (
            sa.select(*_ID)
            .where(LETTER.c.state == Outcome.FAILED.value)
            .order_by(LETTER.c.written_at, *_ID)
            .limit(limit)
            .with_for_update()
        )
        if chosen is not None:
            keys = [(one.order_id, one.kind.value, one.channel.value) for one in chosen]
            failed = failed.where(sa.tuple_(*_ID).in_(keys))
        picked = failed.cte("picked")
        driving = (
            sa.update(LETTER)
            .where(
                LETTER.c.order_id == picked.c.order_id,
                LETTER.c.kind == picked.c.kind,
                LETTER.c.channel == picked.c.channel,
            )
            .values(state=_WAITING, due_at=now, waiting_since=now, settled_at=None, why="")
        )
        async with self._engine.begin() as connection:
            return (await connection.execute(driving)).rowcount


class PostgresPreferenceStore:
    """One row a user who chose."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, user_ids: Collection[str]) -> Mapping[str, Preferences]:
        """Return the choices of those who made one."""
        asked = sa.select(PREFERENCE).where(PREFERENCE.c.user_id.in_(user_ids))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(asked)).mappings().all()
        return {row["user_id"]: Preferences(email=row["email"], sms=row["sms"]) for row in rows}

    async def put(self, user_id: str, preferences: Preferences, now: datetime) -> None:
        """Store a choice; the last one counts."""
        values = {"email": preferences.email, "sms": preferences.sms, "changed_at": now}
        storing = (
            postgresql.insert(PREFERENCE)
            .values(user_id=user_id, **values)
            .on_conflict_do_update(index_elements=[PREFERENCE.c.user_id], set_=values)
        )
        async with self._engine.begin() as connection:
            await connection.execute(storing)


def _row(draft: Draft, channel: Channel, now: datetime) -> dict[str, Any]:
    letter, carrier = draft.letter, draft.carrier
    is_wanted = channel in draft.channels
    return {
        "order_id": letter.order_id,
        "kind": letter.kind.value,
        "channel": channel.value,
        "user_id": letter.user_id,
        "lines": msgspec.to_builtins(letter.lines),
        "amount_minor": letter.amount_minor,
        "currency": letter.currency,
        "carrier": letter.carrier,
        "tracking_number": letter.tracking_number,
        "estimated_delivery": letter.estimated_delivery,
        "state": (Outcome.LATER if is_wanted else Outcome.SKIPPED).value,
        "attempts": 0,
        "due_at": now,
        "written_at": now,
        "waiting_since": now,
        "settled_at": None if is_wanted else now,
        "why": "" if is_wanted else "not wanted",
        "traceparent": carrier.get("traceparent"),
        "tracestate": carrier.get("tracestate"),
    }


def _letter_id(row: Any) -> LetterId:
    return LetterId(
        order_id=row["order_id"], kind=Kind(row["kind"]), channel=Channel(row["channel"])
    )


def _claim(row: Any) -> Claim:
    return Claim(
        letter=Letter(
            order_id=row["order_id"],
            kind=Kind(row["kind"]),
            user_id=row["user_id"],
            lines=msgspec.convert(row["lines"], tuple[events.Line, ...]),
            amount_minor=row["amount_minor"],
            currency=row["currency"],
            carrier=row["carrier"],
            tracking_number=row["tracking_number"],
            estimated_delivery=row["estimated_delivery"],
        ),
        channel=Channel(row["channel"]),
        attempts=row["attempts"],
        waiting_since=row["waiting_since"],
        told=frozenset(map(Kind, row["told"])),
        carrier={name: row[name] for name in ("traceparent", "tracestate") if row[name]},
    )
