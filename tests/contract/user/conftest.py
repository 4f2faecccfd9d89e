"""The stores of the user service, fake and on a real MariaDB, for the tests that hold both to the same rules."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from doorbuster.kit import database, ids, migrations
from doorbuster.testing.accounts import (
    NOON,
    FakeAccounts,
    FakeAddresses,
    FakeGuards,
    FakeSessions,
    FakeSigningKeys,
    build_account,
)
from doorbuster.user import storage
from doorbuster.user.domain import REFRESH_TOKEN_LIFE, Account
from doorbuster.user.ports import Accounts, Addresses, Guards, Sessions, SigningKeys


@dataclass
class Stores:
    accounts: Accounts
    sessions: Sessions
    keys: SigningKeys
    addresses: Addresses
    guards: Guards


@pytest.fixture(params=["fake", "mysql"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("fresh_mysql") if request.param == "mysql" else None


@pytest.fixture
async def stores(dsn: str | None) -> AsyncIterator[Stores]:
    if dsn is None:
        accounts = FakeAccounts()
        yield Stores(
            accounts,
            FakeSessions(accounts),
            FakeSigningKeys(),
            FakeAddresses(accounts),
            FakeGuards(),
        )
        return
    await migrations.upgrade("doorbuster.user", dsn)
    async with database.open_engine(dsn) as engine:
        async with engine.begin() as connection:
            for table in (
                *(storage.TOKENS, storage.SESSIONS, storage.ADDRESSES, storage.USERS),
                *(storage.KEYS, storage.GUARDS),
            ):
                await connection.execute(sa.delete(table))
        yield Stores(
            storage.SqlAccounts(engine),
            storage.SqlSessions(engine),
            storage.SqlSigningKeys(engine),
            storage.SqlAddresses(engine),
            storage.SqlGuards(engine),
        )


async def sign_up(stores: Stores, key: str = "ada@shop.example") -> Account:
    account = build_account(ids.new_id("user"))
    await stores.accounts.add(account, key, "hash")
    return account


async def log_in(stores: Stores, user_id: str, session_id: str, token: str) -> None:
    is_open = await stores.sessions.open(
        session_id,
        user_id,
        token * 64,
        password_hash="hash",
        now=NOON,
        expires_at=NOON + REFRESH_TOKEN_LIFE,
    )
    assert is_open
