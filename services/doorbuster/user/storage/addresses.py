"""Address books: one row an address, added under the lock of its owner's row."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from doorbuster.contracts import shopping
from doorbuster.kit.database import Moment
from doorbuster.user.domain import MAX_ADDRESSES, Address, TooManyAddressesError, UnknownUserError

from .accounts import USERS

ADDRESSES = sa.Table(
    "user_address",
    sa.MetaData(),
    sa.Column("address_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String),
    sa.Column("details", sa.Text),
    sa.Column("created_at", Moment),
)


class SqlAddresses:
    """Addresses; the owner's row lock makes adds take turns, so that the limit holds."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def all(self, user_id: str) -> list[Address]:
        """Return a user's book, oldest first."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_book(user_id))).all()
        return [_address(row.address_id, row.details) for row in rows]

    async def one(self, user_id: str, address_id: str) -> Address | None:
        """Return one address of a user's book."""
        query = sa.select(ADDRESSES.c.details).where(*_mine(user_id, address_id))
        async with self._engine.connect() as connection:
            details = await connection.scalar(query)
        return None if details is None else _address(address_id, details)

    async def add(
        self,
        user_id: str,
        details: shopping.AddressDraft,
        now: datetime,
        new_id: Callable[[], str],
    ) -> Address:
        """Add an address unless the very same is there; raises TooManyAddressesError, UnknownUserError."""
        async with self._engine.begin() as connection:
            owner = sa.select(USERS.c.user_id).where(USERS.c.user_id == user_id)
            if await connection.scalar(owner.with_for_update()) is None:
                raise UnknownUserError("there is no such user")
            rows = (await connection.execute(_book(user_id))).all()
            book = [_address(row.address_id, row.details) for row in rows]
            for address in book:
                if address.details == details:
                    return address
            if len(book) >= MAX_ADDRESSES:
                raise TooManyAddressesError(f"an address book holds {MAX_ADDRESSES}")
            address = Address(address_id=new_id(), details=details)
            row = {
                "address_id": address.address_id,
                "user_id": user_id,
                "details": _text(details),
                "created_at": now,
            }
            await connection.execute(sa.insert(ADDRESSES), row)
            return address

    async def put(self, user_id: str, address_id: str, details: shopping.AddressDraft) -> bool:
        """Replace an address; false when it is not the user's."""
        mine = _mine(user_id, address_id)
        async with self._engine.begin() as connection:
            # Counted by a look: MySQL counts a row that stays the same as not updated.
            there = sa.select(ADDRESSES.c.address_id).where(*mine).with_for_update()
            if await connection.scalar(there) is None:
                return False
            await connection.execute(
                sa.update(ADDRESSES).where(*mine).values(details=_text(details))
            )
        return True

    async def remove(self, user_id: str, address_id: str) -> bool:
        """Delete an address; false when it is not the user's."""
        async with self._engine.begin() as connection:
            gone = await connection.execute(
                sa.delete(ADDRESSES).where(*_mine(user_id, address_id))
            )
        return gone.rowcount == 1


def _book(user_id: str) -> sa.Select[tuple[str, str]]:
    return (
        sa.select(ADDRESSES.c.address_id, ADDRESSES.c.details)
        .where(ADDRESSES.c.user_id == user_id)
        .order_by(ADDRESSES.c.created_at, ADDRESSES.c.address_id)
    )


def _mine(user_id: str, address_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return ADDRESSES.c.address_id == address_id, ADDRESSES.c.user_id == user_id


def _text(details: shopping.AddressDraft) -> str:
    return msgspec.json.encode(details).decode()


def _address(address_id: str, details: str) -> Address:
    return Address(
        address_id=address_id, details=msgspec.json.decode(details, type=shopping.AddressDraft)
    )
