"""``doorbuster user grant``: the only way to a role, and to a first admin."""

import argparse
import asyncio
import sys
from typing import cast

from sqlalchemy import exc

from doorbuster.kit import clock, config, database, ids, migrations, process

from . import domain
from .config import GrantConfig
from .passwords import open_passwords
from .storage import SqlAccounts


class GrantError(Exception):
    """The role was not granted; the message says why."""


def run(arguments: argparse.Namespace) -> None:
    """Set the role of an account, making it first with ``--create``; exits 1 with one line on failure."""
    password = None
    try:
        if arguments.password_stdin:
            password = _read_password()
        asyncio.run(_grant(arguments.email, arguments.role, arguments.create, password))
    except (
        GrantError,
        domain.UnacceptableTextError,
        config.ConfigError,
        process.StartError,
    ) as error:
        sys.stderr.write(f"doorbuster user grant: {error}\n")
        raise SystemExit(1) from None
    except (exc.SQLAlchemyError, OSError) as error:
        # The driver's own words may hold addresses and parameters.
        sys.stderr.write(f"doorbuster user grant: the database failed ({type(error).__name__})\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{arguments.email} is {arguments.role}\n")


def _read_password() -> str:
    password = sys.stdin.readline(4096).rstrip("\r\n")
    low, high = domain.MIN_PASSWORD_CHARACTERS, domain.MAX_PASSWORD_CHARACTERS
    if not low <= len(password) <= high:
        raise GrantError(f"a password has {low} to {high} characters")
    return password


async def _grant(email: str, role: str, create: bool, password: str | None) -> None:
    settings = config.load(GrantConfig)
    key = domain.email_key(email)
    if key.count("@") != 1 or key.startswith("@") or key.endswith("@"):
        raise GrantError("this is no e-mail address")
    wanted = cast(domain.Role, role)
    async with database.open_engine(settings.dsn, pool_size=1) as engine:
        await migrations.require_current(engine, "doorbuster.user")
        accounts = SqlAccounts(engine)
        if await accounts.set_role(key, wanted, clock.utc_now()):
            return
        if not create:
            raise GrantError("there is no such account; --create makes one")
        if password is None:
            raise GrantError("a new account needs its password: --password-stdin")
        async with open_passwords() as passwords:
            password_hash = await passwords.hash(password)
        account = domain.Account(
            user_id=ids.new_id("user"),
            name=domain.clean_name(email.partition("@")[0]),
            email=email,
            role=wanted,
            created_at=clock.utc_now(),
        )
        try:
            await accounts.add(account, key, password_hash)
        except domain.EmailTakenError:
            await accounts.set_role(key, wanted, clock.utc_now())
