"""Opens sales without Kubernetes: topic, pool and gate, the latter through inventory's control API, as the operator."""

import asyncio
import contextlib
import dataclasses
import datetime
import pathlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import aiohttp

from doorbuster.contracts import control
from doorbuster.kit import auth, bus, client

from .manifest import NAMESPACE, Sale

CALL_SECONDS = 10.0
ARMED_SECONDS = 30.0
POLL_SECONDS = 0.1
PARTITIONS = 3
REPLICATION = 1
PRICE_MINOR = 99_900
CURRENCY = "EUR"
SALE_LASTS = datetime.timedelta(minutes=30)


class GateError(Exception):
    """The sale could not be opened."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """One sale of one product; ``opens_in`` and ``hold_seconds`` in seconds, ``quantity`` None is the whole pool.

    ``admit_per_second`` None is no waiting room.
    """

    name: str
    units: int
    opens_in: float
    hold_seconds: int
    strategy: control.Strategy = "Escrow"
    per_user_limit: int = 1
    safety_stock: int = 0
    quantity: int | None = None
    admit_per_second: int | None = None


class GateKeeper:
    """Speaks for the operator, with its key; see :func:`gate_keeper`."""

    def __init__(self, inventory: client.ServiceClient, bootstrap: str) -> None:
        self._inventory = inventory
        self._bootstrap = bootstrap
        self._fence = 0

    async def open_sales(self, wishes: Sequence[Wish]) -> list[Sale]:
        """Make the topics, pools and gates, and return the sales when all are armed; raises GateError."""
        try:
            await self._make_topics([wish.name for wish in wishes])
            if not self._fence:
                await self._take_fence()
            sales = [await self._put(wish) for wish in wishes]
            await self._wait_until_armed({wish.name for wish in wishes})
        except (client.RefusedError, client.UnavailableError) as error:
            raise GateError(f"inventory: {error}") from error
        return sales

    async def open_sale(self, wish: Wish) -> Sale:
        """As ``open_sales``, for one."""
        return (await self.open_sales([wish]))[0]

    async def put_pool(
        self, sku: str, units: int, *, generation: int, safety_stock: int = 0
    ) -> None:
        """Set the level of a stock; a higher ``generation`` replaces what an earlier one said."""
        spec = control.PoolSpec(
            capacity=units,
            safety_stock=safety_stock,
            owner_uid=f"pool-{sku}",
            generation=generation,
            fence=self._fence,
        )
        await self._call("PUT", f"/control/v1/pools/{sku}", control.PoolState, spec)

    async def _take_fence(self) -> None:
        request = control.FenceRequest(
            lease_namespace=NAMESPACE, lease_name=f"gates-{secrets.token_hex(4)}", holder="gates"
        )
        self._fence = (
            await self._call("POST", "/control/v1/fences", control.Fence, request)
        ).fence

    async def _put(self, wish: Wish) -> Sale:
        await self.put_pool(wish.name, wish.units, generation=1, safety_stock=wish.safety_stock)
        opens_at = datetime.datetime.fromtimestamp(time.time() + wish.opens_in, datetime.UTC)
        item = control.SaleItem(
            sku=wish.name,
            quantity=wish.quantity,
            price_minor=PRICE_MINOR,
            currency=CURRENCY,
            per_user_limit=wish.per_user_limit,
        )
        gate = control.SaleGate(
            namespace=NAMESPACE,
            name=wish.name,
            generation=1,
            fence=self._fence,
            state="Active",
            open_time=opens_at,
            close_time=opens_at + SALE_LASTS,
            strategy=wish.strategy,
            reservation_timeout_seconds=wish.hold_seconds,
            items=[item],
            admit_per_second=wish.admit_per_second,
        )
        await self._call("PUT", f"/control/v1/sales/{_uid(wish.name)}", control.SaleState, gate)
        return Sale(
            name=wish.name, opens_at=opens_at.timestamp(), hold_seconds=wish.hold_seconds, text=""
        )

    async def _wait_until_armed(self, names: set[str]) -> None:
        deadline = time.monotonic() + ARMED_SECONDS
        while True:
            states = await self._call("GET", "/control/v1/sales?since=0", control.SaleStates)
            late = names - {sale.name for sale in states.sales if sale.armed}
            if not late:
                return
            if time.monotonic() > deadline:
                raise GateError(
                    f"not armed after {ARMED_SECONDS:.0f} s: {', '.join(sorted(late))}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _make_topics(self, names: Sequence[str]) -> None:
        """Consumers find a new topic within seconds, and read it from its beginning."""
        for name in names:
            topic = f"sale.{NAMESPACE}.{name}.orders"
            await bus.ensure_topic(
                self._bootstrap, topic, partitions=PARTITIONS, replication=REPLICATION
            )

    async def _call(
        self, method: str, path: str, answer: type[client.Answer], body: object = None
    ) -> client.Answer:
        return await self._inventory.call(method, path, answer, body=body)


def _uid(name: str) -> str:
    return f"sale-{name}"


@contextlib.asynccontextmanager
async def gate_keeper(
    environment: Mapping[str, str], operator_key: pathlib.Path
) -> AsyncIterator[GateKeeper]:
    """Open a keeper for the inventory and the broker that ``environment`` names."""
    async with aiohttp.ClientSession() as session:
        inventory = client.ServiceClient(
            callee="inventory",
            urls=tuple(environment["DOORBUSTER_INVENTORY_URLS"].split(",")),
            session=session,
            signer=auth.ServiceSigner("operator", operator_key),
            timeout_seconds=CALL_SECONDS,
        )
        yield GateKeeper(inventory, environment["DOORBUSTER_KAFKA_BOOTSTRAP"])
