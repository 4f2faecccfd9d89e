"""The attempts in PostgreSQL or MySQL: the same statements on both, the state column compared and set."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.contracts import events
from doorbuster.kit import outbox
from doorbuster.kit.database import Moment

from . import domain
from .domain import (
    Attempt,
    Limits,
    OrderReversedError,
    Purchase,
    State,
    TooManyAttemptsError,
)
from .ports import Facts, NewAttempt


def _exact(length: int) -> sa.types.TypeEngine[str]:
    """Return a text type that tells upper from lower case everywhere; MySQL by itself does not."""
    binary = mysql.VARCHAR(length, collation="utf8mb4_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


metadata = sa.MetaData()
OUTBOX = outbox.table(metadata)
PAYMENT = sa.Table(
    "payment",
    metadata,
    sa.Column("order_id", _exact(80), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("payment_id", _exact(80), nullable=False),
    sa.Column("user_id", _exact(80), nullable=False),
    sa.Column("idempotency_key", _exact(200), nullable=False),
    sa.Column("fingerprint", _exact(64), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
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
)
_TABLE = PAYMENT.c
_OWN = tuple(field.name for field in dataclasses.fields(Attempt) if field.name != "purchase")
_PURCHASE = tuple(field.name for field in dataclasses.fields(Purchase) if field.name != "lines")
_DEADLOCKS = {"40P01", "40001", 1213, 1205}


class SqlPaymentStore:
    """See the port. Safe for any number of copies: rows are claimed with SKIP LOCKED and put off."""

    def __init__(self, engine: AsyncEngine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    async def find(self, order_id: str, idempotency_key: str) -> Attempt | None:
        """Return the attempt that was made under this key."""
        return await self._one(
            _TABLE.order_id == order_id, _TABLE.idempotency_key == idempotency_key
        )

    async def get(self, order_id: str, attempt: int) -> Attempt | None:
        """Return one attempt."""
        return await self._one(_TABLE.order_id == order_id, _TABLE.attempt == attempt)

    async def live(self, order_id: str) -> Attempt | None:
        """Return the one attempt of an order that keeps others out."""
        return await self._one(_TABLE.order_id == order_id, _TABLE.state.in_(sorted(domain.LIVE)))

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> Attempt | None:
        async with self._engine.connect() as connection:
            found = await connection.execute(sa.select(PAYMENT).where(*conditions))
            row = found.mappings().first()
        return None if row is None else _attempt(row)

    async def open(self, new: NewAttempt, *, now: datetime) -> Attempt | None:
        """Number and insert a NEW attempt; the table's keys decide every race."""
        try:
            async with self._engine.begin() as connection:
                count = await connection.scalar(
                    sa.select(sa.func.count()).where(_TABLE.order_id == new.purchase.order_id)
                )
                attempt = Attempt(
                    purchase=new.purchase,
                    attempt=1 + (count or 0),
                    payment_id=new.payment_id,
                    idempotency_key=new.idempotency_key,
                    fingerprint=new.fingerprint,
                    state=State.NEW,
                    created_at=now,
                    updated_at=now,
                )
                if attempt.attempt > domain.MAX_ATTEMPTS:
                    raise TooManyAttemptsError("too many cards were tried for this order")
                due_at = domain.due_at(State.NEW, now, self._limits)
                await connection.execute(sa.insert(PAYMENT).values(**_row(attempt), due_at=due_at))
                # Looked at after the insert: until a reversal is committed its row keeps ours out.
                reversed_ = await connection.scalar(
                    sa.select(sa.func.count()).where(
                        _TABLE.order_id == attempt.order_id,
                        _TABLE.state.in_(sorted(domain.REVERSED)),
                    )
                )
                if reversed_:
                    raise OrderReversedError("this order was paid and given back")
        except exc.IntegrityError:
            return None
        except exc.DBAPIError as error:
            if _is_deadlock(error):
                return None
            raise
        return attempt

    async def move(
        self,
        attempt: Attempt,
        to: State,
        *,
        now: datetime,
        facts: Facts | None = None,
        event: events.Event | None = None,
    ) -> Attempt | None:
        """Compare and set the state; the event goes into the outbox in the same transaction."""
        if not domain.may_follow(attempt.state, to):
            raise ValueError(f"{attempt.state} is never followed by {to}")
        values = {"state": to, "updated_at": now, **_known(facts)}
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                sa.update(PAYMENT)
                .where(
                    _TABLE.order_id == attempt.order_id,
                    _TABLE.attempt == attempt.attempt,
                    _TABLE.state == attempt.state,
                )
                .values(**values, **self._appointments(to, now))
            )
            if changed.rowcount != 1:
                return None
            if event is not None:
                await outbox.enqueue(
                    connection, OUTBOX, [(_topic(attempt, event), event)], now=now
                )
        return dataclasses.replace(attempt, **values)

    def _appointments(self, to: State, now: datetime) -> dict[str, Any]:
        if to is State.CAPTURED:
            # A reversal may have been asked for while the money was being taken.
            due_at: Any = sa.case((_TABLE.reversal.is_(None), None), else_=now)
            return {"due_at": due_at}
        appointments: dict[str, Any] = {"due_at": domain.due_at(to, now, self._limits)}
        if to is State.AUTHORISED or to in domain.REVERSED:
            appointments["ask_order_at"] = now + self._limits.order_known_after
        elif to not in domain.SOLD:
            appointments["ask_order_at"] = None
        return appointments

    async def ask_reversal(self, attempt: Attempt, reason: str, *, now: datetime) -> bool:
        """Note the reversal under the row's lock, so that the capture cannot miss it."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                sa.update(PAYMENT)
                .where(
                    _TABLE.order_id == attempt.order_id,
                    _TABLE.attempt == attempt.attempt,
                    _TABLE.state == State.CAPTURING,
                )
                .values(reversal=reason, updated_at=now)
            )
        return changed.rowcount == 1

    async def claim_due(
        self, states: frozenset[State], *, now: datetime, again_at: datetime, limit: int
    ) -> list[Attempt]:
        """Claim by putting off: no transaction stays open while the provider is asked."""
        due = sa.and_(_TABLE.due_at <= now, _TABLE.state.in_(sorted(states)))
        return await self._claim(due, _TABLE.due_at, again_at, limit)

    async def claim_unknown(
        self, states: frozenset[State], *, now: datetime, again_at: datetime, limit: int
    ) -> list[Attempt]:
        """Claim attempts of which others should know by now."""
        due = sa.and_(_TABLE.ask_order_at <= now, _TABLE.state.in_(sorted(states)))
        return await self._claim(due, _TABLE.ask_order_at, again_at, limit)

    async def _claim(
        self,
        due: sa.ColumnElement[bool],
        appointment: sa.Column[Any],
        again_at: datetime,
        limit: int,
    ) -> list[Attempt]:
        query = (
            sa.select(PAYMENT)
            .where(due)
            .order_by(appointment)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as connection:
            rows = (await connection.execute(query)).mappings().all()
            if rows:
                await connection.execute(
                    sa.update(PAYMENT)
                    .where(_TABLE.payment_id.in_([row["payment_id"] for row in rows]))
                    .values({appointment: again_at})
                )
        return [_attempt(row) for row in rows]

    async def waiting_since(self, states: frozenset[State]) -> datetime | None:
        """Return the earliest last step of those that have an appointment with a worker."""
        return await self._earliest(
            _TABLE.updated_at, _TABLE.due_at.is_not(None), _TABLE.state.in_(sorted(states))
        )

    async def unknown_since(self, states: frozenset[State]) -> datetime | None:
        """Return the earliest payment or reversal of those that others are to be asked about."""
        is_reversed = _TABLE.state.in_(sorted(domain.REVERSED))
        return await self._earliest(
            sa.case((is_reversed, _TABLE.updated_at), else_=_TABLE.paid_at),
            _TABLE.ask_order_at.is_not(None),
            _TABLE.state.in_(sorted(states)),
        )

    async def _earliest(
        self, column: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]
    ) -> datetime | None:
        async with self._engine.connect() as connection:
            found: datetime | None = await connection.scalar(
                sa.select(sa.func.min(column)).where(*conditions)
            )
        return found

    async def note_known(self, states: frozenset[State], attempts: Sequence[Attempt]) -> None:
        """Ask no more; one that was reversed meanwhile has something new to tell and keeps its appointment."""
        ids = [attempt.payment_id for attempt in attempts]
        if ids:
            async with self._engine.begin() as connection:
                await connection.execute(
                    sa.update(PAYMENT)
                    .where(_TABLE.payment_id.in_(ids), _TABLE.state.in_(sorted(states)))
                    .values(ask_order_at=None)
                )

    async def publish(self, attempts: Sequence[Attempt], *, now: datetime) -> None:
        """Put the last word on each into the outbox once more, unless it still waits there.

        It goes to the topic of all orders: the sale's own may be gone by now.
        """
        told = [(attempt, domain.last_word(attempt)) for attempt in attempts]
        async with self._engine.begin() as connection:
            found = await connection.execute(
                sa.select(OUTBOX.c.type, OUTBOX.c.event_key).where(
                    OUTBOX.c.topic == events.ORDERS_TOPIC,
                    OUTBOX.c.type.in_(sorted({event.type for _, event in told})),
                    OUTBOX.c.event_key.in_([attempt.order_id for attempt in attempts]),
                )
            )
            waiting = {(row.type, row.event_key) for row in found}
            due = [
                (attempt, event)
                for attempt, event in told
                if (event.type, attempt.order_id) not in waiting
            ]
            pairs = [(events.ORDERS_TOPIC, event) for _, event in due]
            carriers = [_carrier(attempt) for attempt, _ in due]
            await outbox.enqueue(connection, OUTBOX, pairs, now=now, carriers=carriers)

    async def states(self, items: Sequence[tuple[str, int]]) -> dict[tuple[str, int], State]:
        """Return the states of those (order, attempt) that exist."""
        wanted = set(items)
        query = sa.select(_TABLE.order_id, _TABLE.attempt, _TABLE.state).where(
            _TABLE.order_id.in_(sorted({order_id for order_id, _ in wanted}))
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return {
            (order_id, attempt): State(state)
            for order_id, attempt, state in rows
            if (order_id, attempt) in wanted
        }


def _known(facts: Facts | None) -> dict[str, Any]:
    given = {} if facts is None else dataclasses.asdict(facts)
    return {name: value for name, value in given.items() if value is not None}


def _row(attempt: Attempt) -> dict[str, Any]:
    purchase = attempt.purchase
    row = {name: getattr(attempt, name) for name in _OWN}
    row |= {name: getattr(purchase, name) for name in _PURCHASE}
    return row | {"lines": msgspec.to_builtins(purchase.lines)}


def _attempt(row: sa.RowMapping) -> Attempt:
    lines = msgspec.convert(row["lines"], tuple[events.Line, ...])
    purchase = Purchase(lines=lines, **{name: row[name] for name in _PURCHASE})
    own = {name: row[name] for name in _OWN}
    return Attempt(purchase=purchase, **own | {"state": State(row["state"])})


def _is_deadlock(error: exc.DBAPIError) -> bool:
    arguments = getattr(error.orig, "args", ())
    code = getattr(error.orig, "sqlstate", None) or (arguments[0] if arguments else None)
    return code in _DEADLOCKS


def _topic(attempt: Attempt, event: events.Event) -> str:
    first = isinstance(event, events.PaymentSucceeded | events.PaymentFailed)
    return attempt.purchase.topic if first else events.ORDERS_TOPIC


def _carrier(attempt: Attempt) -> dict[str, str]:
    traceparent = attempt.purchase.traceparent
    return {} if traceparent is None else {"traceparent": traceparent}
