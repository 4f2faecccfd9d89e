"""A relay whose process is killed after Kafka has taken a batch and before the batch is deleted."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import sqlalchemy as sa
from typing_extensions import override

from doorbuster.kit import bus, database, outbox


class DyingBus(bus.Bus):
    """Dies by SIGKILL once the first batch is acknowledged."""

    @override
    async def send(self, messages: Sequence[bus.Message]) -> None:
        await super().send(messages)
        os.kill(os.getpid(), signal.SIGKILL)


async def main(dsn: str, bootstrap: str) -> None:
    """Relay one batch, as far as it gets."""
    table = outbox.table(sa.MetaData())
    async with database.open_engine(dsn) as engine:
        await outbox.Relay(engine, table, DyingBus(bootstrap)).step()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
