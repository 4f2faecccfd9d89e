"""``doorbuster cdc register|status``: the connectors, made and shown, one line each."""

import argparse
import asyncio
import sys

from doorbuster.kit import config

from . import domain, usecases
from .clients import ConnectRefusedError, open_connect
from .config import CdcConfig
from .storage import PostgresSlots


def run(arguments: argparse.Namespace) -> None:
    """Register the connectors or show them; exits 1 with one line when one does not run."""
    act = _register if arguments.action == "register" else _status
    try:
        asyncio.run(act(config.load(CdcConfig)))
    except (
        config.ConfigError,
        ConnectRefusedError,
        usecases.NotRunningError,
        ValueError,
        OSError,
    ) as error:
        sys.stderr.write(f"doorbuster cdc: {error}\n")
        raise SystemExit(1) from None


async def _register(settings: CdcConfig) -> None:
    wanted = settings.connectors()
    async with open_connect(settings.connect_url) as connect:
        for connector in wanted:
            await usecases.register(connect, connector)
        for connector in wanted:
            await usecases.until_running(connect, connector.name)
            sys.stdout.write(f"{connector.name} -> {connector.topic}: {usecases.RUNNING}\n")


async def _status(settings: CdcConfig) -> None:
    down = []
    async with open_connect(settings.connect_url) as connect:
        for name in (domain.INVENTORY, domain.PRODUCTS):
            said = await usecases.describe(connect, name)
            sys.stdout.write(f"{name}: {said}\n")
            if said != usecases.RUNNING:
                down.append(name)
    slot = await PostgresSlots(settings.postgres_dsn).find()
    said = "MISSING" if slot is None else f"{slot.wal_status}, {slot.lag_bytes} bytes behind"
    sys.stdout.write(f"slot {domain.SLOT}: {said}\n")
    if down:
        raise usecases.NotRunningError(f"not running: {', '.join(down)}")
