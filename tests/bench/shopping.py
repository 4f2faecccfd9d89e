"""Buyers who do the same again and again, for ``make bench-strategies``: check out, pay, say so on Kafka."""

import asyncio
import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import AsyncIterator

import msgspec

from buyers import gates, wire
from doorbuster.contracts import events
from doorbuster.escrow import ProductLocks
from doorbuster.kit import auth, bus, clock
from doorbuster.kit.coalescer import Coalescer

PAYMENT_SECONDS = 0.020
CALL_SECONDS = 20.0
TEXTBOOK_WAIT_SECONDS = 600.0


@dataclasses.dataclass(kw_only=True)
class Run:
    """What one crowd did in one window: seconds of paid orders, ages of the others, calls that went wrong."""

    seconds: float
    paid: list[float] = dataclasses.field(default_factory=list)
    under_way: list[float] = dataclasses.field(default_factory=list)
    waited: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Paid orders a second."""
        return len(self.paid) / self.seconds

    @property
    def p99(self) -> tuple[float, bool]:
        """The 99th percentile in seconds, and whether it is only known to be more than that."""
        ranked = sorted(
            [(took, False) for took in self.paid] + [(age, True) for age in self.under_way]
        )
        return ranked[math.ceil(0.99 * len(ranked)) - 1] if ranked else (math.nan, True)


class Shop:
    """The two checkouts, the locks of the textbook, and payment's word on Kafka."""

    def __init__(
        self,
        checkouts: list[tuple[str, int]],
        payment: auth.ServiceSigner,
        locks: ProductLocks,
        kafka: bus.Bus,
    ) -> None:
        self.checkouts, self._payment = checkouts, payment
        self._locks = locks
        self._kafka = kafka
        self._announcing: Coalescer[bus.Message, None] = Coalescer(self._announce, max_batch=512)

    async def _announce(self, messages: list[bus.Message]) -> list[Exception | None]:
        await self._kafka.send(messages)
        return [None] * len(messages)

    async def close(self) -> None:
        """Let the batches under way end."""
        await self._announcing.close()

    @contextlib.asynccontextmanager
    async def textbook_lock(self, mode: str, product_id: str) -> AsyncIterator[None]:
        """Hold the product's lock from the check until the order is paid, in the mode that does."""
        if mode != "Textbook":
            yield
            return
        async with self._locks.hold(product_id, within_seconds=TEXTBOOK_WAIT_SECONDS):
            yield

    def as_payment(self) -> dict[str, str]:
        """Return the headers of the payment service."""
        return {"Authorization": f"Bearer {self._payment.token('checkout')}"}

    async def say_paid(self, order_id: str, user: str) -> None:
        """Publish what payment publishes when a card was charged."""
        paid = events.PaymentSucceeded(
            order_id=order_id,
            user_id=user,
            payment_id=f"txn_{order_id}",
            attempt=1,
            lines=[],
            amount_minor=gates.PRICE_MINOR,
            currency=gates.CURRENCY,
            topic=events.ORDERS_TOPIC,
            paid_at=clock.utc_now(),
        )
        message = bus.Message(
            topic=events.ORDERS_TOPIC,
            key=order_id,
            value=msgspec.json.encode(paid),
            headers=(("id", order_id), ("type", paid.type), ("version", "1")),
        )
        await self._announcing.submit(message)


def post(path: str, headers: dict[str, str], body: object) -> bytes:
    """Write a request."""
    content = msgspec.json.encode(body)
    lines = [f"POST {path} HTTP/1.1", "Host: shop", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


class Buyer:
    """One of a crowd, on a connection of his own."""

    def __init__(
        self, shop: Shop, number: int, headers: dict[str, str], mode: str, product_id: str
    ) -> None:
        self._shop, self._mode, self._product_id = shop, mode, product_id
        self._user, self._headers = user_of(number), headers
        self._place = shop.checkouts[number % len(shop.checkouts)]
        self._connection: wire.Connection | None = None
        self.pressed_at: float | None = None

    async def shop_on(self, run: Run, counted_from: float) -> None:
        """Buy again and again until cancelled; orders that end after ``counted_from`` count."""
        try:
            for number in itertools.count(1):
                self.pressed_at = time.monotonic()
                if not await self._buy(f"{self._product_id}-{self._user}-{number}", run):
                    run.failed += 1
                    await asyncio.sleep(0.1)
                elif time.monotonic() >= counted_from:
                    run.paid.append(time.monotonic() - self.pressed_at)
        finally:
            if self._connection is not None:
                self._connection.cut()

    async def _buy(self, key: str, run: Run) -> bool:
        try:
            async with self._shop.textbook_lock(self._mode, self._product_id):
                order_id = await self._check_out(key, run)
                path = f"/internal/v1/orders/{order_id}/begin-payment"
                begun = await self._exchange(post(path, self._shop.as_payment(), {"attempt": 1}))
                if begun.status != 200:
                    return False
                await asyncio.sleep(PAYMENT_SECONDS)
        except wire.WireError:
            return False
        await self._shop.say_paid(order_id, self._user)
        return True

    async def _check_out(self, key: str, run: Run) -> str:
        wish = {"products": [{"productId": self._product_id, "quantity": 1}]}
        request = post("/v1/checkout", {**self._headers, "Idempotency-Key": key}, wish)
        while True:
            answer = await self._exchange(request)
            if answer.status == 201:
                order_id: str = msgspec.json.decode(answer.body)["orderId"]
                return order_id
            if answer.status != 409:
                raise wire.WireError(f"Status{answer.status}")
            run.waited += 1
            await asyncio.sleep(answer.retry_after or 1.0)

    async def _exchange(self, request: bytes) -> wire.Response:
        if self._connection is None or not self._connection.is_usable:
            self._connection = await wire.Connection.open(*self._place, None)
        return await self._connection.exchange(request, CALL_SECONDS)


def user_of(number: int) -> str:
    """Return the id of a buyer."""
    return f"buyer_{number}"
