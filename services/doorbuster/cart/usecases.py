"""What the cart service does: fill, show, merge and hand over carts, and empty them of what was bought."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from prometheus_client import Counter

from doorbuster.contracts import events, internal, shopping
from doorbuster.kit import clock, consumer, ids, workers

from . import domain
from .domain import (
    BOUGHT_ORDER_LIFE,
    CART_OF_NOBODY_LIFE,
    Line,
    Market,
    OfNobody,
    OfUser,
    Owner,
    Price,
    StoredCart,
    UnknownCartError,
)
from .ports import CartStore, Catalogue, Purchase, Sales, Stock

LOOK_SECONDS = 1.0
SWEEP_BATCH = 500
AWAY = (OSError, TimeoutError)
WORKER = workers.Worker("cart_sweep", outcomes=("expired", "forgotten"))
DEGRADED = Counter(
    "doorbuster_cart_degraded",
    "Answers given without a neighbour's word: product (any id is taken, no titles), sales, stock",
    ["without"],
)
BOUGHT = Counter("doorbuster_cart_bought_orders", "Paid orders taken out of carts")
_TOKEN_BYTES = 32
_TOKEN_PREFIX = "ct_"  # noqa: S105,RUF100 - a prefix, no secret
Answer = TypeVar("Answer")
for _neighbour in ("product", "sales", "stock"):
    DEGRADED.labels(_neighbour)


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A changed cart; ``token`` only when this call made a cart of nobody."""

    cart: StoredCart
    token: str | None = None


class SalesBoard:
    """What inventory last said of its sales, kept through an outage: windows are known ahead."""

    def __init__(self, sales: Sales, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._sales = sales
        self._monotonic = monotonic
        self._answer: internal.Sales | None = None
        self._answered_at = 0.0

    async def step(self) -> None:
        """Ask inventory; raises ConnectionError and keeps the last answer."""
        self._answer = await self._sales.sales()
        self._answered_at = self._monotonic()

    def open_prices(self) -> Mapping[str, Price]:
        """Return the prices of open sales; none while inventory never answered, which is counted."""
        if self._answer is None:
            DEGRADED.labels("sales").inc()
            return {}
        age = timedelta(seconds=self._monotonic() - self._answered_at)
        return domain.open_prices(self._answer, self._answer.server_time + age)

    def may_announce(self, product_id: str) -> bool:
        """Tell whether a sale has the product, or nobody can say."""
        return self._answer is None or product_id in domain.announced(self._answer)


@dataclass(frozen=True, kw_only=True)
class Carts:
    """The use cases."""

    store: CartStore
    catalogue: Catalogue
    board: SalesBoard
    stock: Stock
    now: clock.Clock = clock.utc_now

    async def view(self, owner: Owner | None) -> shopping.Cart:
        """Return the cart at today's prices; raises UnknownCartError for a token that names none."""
        cart = None if owner is None else await self.store.find(owner)
        if cart is None and isinstance(owner, OfNobody):
            raise UnknownCartError("there is no such cart")
        products = [] if cart is None else [line.product_id for line in cart.lines]
        if not products:
            return domain.show(cart, Market(quotes={}, sale_prices={}, stock={}))
        quotes, found = await asyncio.gather(
            _or_none("product", lambda: self.catalogue.quotes(products)),
            _or_none("stock", lambda: self.stock.read(products)),
        )
        stock = None if found is None else {name: one.qty for name, one in found.items()}
        market = Market(quotes=quotes, sale_prices=self.board.open_prices(), stock=stock)
        return domain.show(cart, market)

    async def add(self, owner: Owner | None, product_id: str, quantity: int) -> Changed:
        """Add units; without an owner a cart of nobody is made.

        Raises UnknownCartError, UnknownProductError, CartFullError.
        """
        await self._require_product(product_id)
        token = None
        if owner is None:
            token = _TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
            owner = of_token(token)
        makes = token is not None or isinstance(owner, OfUser)
        cart = await self.store.change(
            owner,
            lambda lines: domain.add(lines, product_id, quantity),
            self.now(),
            new_id=ids.new_id("cart") if makes else None,
        )
        return Changed(cart=cart, token=token)

    async def put(self, owner: Owner | None, product_id: str, quantity: int) -> Changed:
        """Set the units of a product; raises UnknownCartError, UnknownProductError, CartFullError."""
        if owner is None:
            raise UnknownCartError("there is no cart yet")
        await self._require_product(product_id)
        cart = await self.store.change(
            owner,
            lambda lines: domain.put(lines, product_id, quantity),
            self.now(),
            new_id=ids.new_id("cart") if isinstance(owner, OfUser) else None,
        )
        return Changed(cart=cart)

    async def remove(self, owner: Owner | None, product_id: str) -> Changed:
        """Take a product out, if it is in; raises UnknownCartError."""
        if owner is None:
            raise UnknownCartError("there is no cart yet")
        cart = await self.store.change(
            owner, lambda lines: domain.remove(lines, product_id), self.now()
        )
        return Changed(cart=cart)

    async def merge(self, user_id: str, token: str) -> Changed:
        """Move the cart of this token into the user's; raises UnknownCartError, also the second time."""
        cart = await self.store.merge(
            of_token(token), user_id, self.now(), new_id=ids.new_id("cart")
        )
        return Changed(cart=cart)

    async def contents(self, cart_id: str, user_id: str) -> StoredCart:
        """Return a user's cart by its id; raises UnknownCartError, also for another's."""
        cart = await self.store.of_user(cart_id, user_id)
        if cart is None:
            raise UnknownCartError("there is no such cart")
        return cart

    async def take_in(self, deliveries: Sequence[consumer.Delivery]) -> None:
        """Take what was paid out of the buyers' carts, once an order however often its event comes."""
        since = self.now() - BOUGHT_ORDER_LIFE
        purchases = [
            _purchase(delivery.event)
            for delivery in deliveries
            if isinstance(delivery.event, events.PaymentSucceeded)
            and delivery.event.paid_at > since
        ]
        if purchases:
            BOUGHT.inc(await self.store.take_out(purchases, self.now()))

    async def sweep(self) -> bool:
        """Delete some carts of nobody and some orders that are too old; true when there may be more."""
        now = self.now()
        expired = await self.store.expire(now - CART_OF_NOBODY_LIFE, SWEEP_BATCH)
        # A day longer than events count, so that no clock forgets an order that another still takes.
        forgotten = await self.store.forget_orders(
            now - BOUGHT_ORDER_LIFE - timedelta(days=1), SWEEP_BATCH
        )
        WORKER.repaired("expired", expired)
        WORKER.repaired("forgotten", forgotten)
        return SWEEP_BATCH in (expired, forgotten)

    async def oldest_seconds(self) -> float:
        """Return for how long the stalest cart of nobody should have been gone."""
        since = await self.store.oldest_of_nobody()
        if since is None:
            return 0.0
        return max(0.0, (self.now() - since - CART_OF_NOBODY_LIFE).total_seconds())

    async def _require_product(self, product_id: str) -> None:
        """Raise UnknownProductError when product answers and neither it nor a sale has the product."""
        if not ids.is_id(product_id, "prod"):
            raise domain.UnknownProductError(product_id)
        quotes = await _or_none("product", lambda: self.catalogue.quotes([product_id]))
        if quotes is None or product_id in quotes or self.board.may_announce(product_id):
            return
        raise domain.UnknownProductError(product_id)


def of_token(token: str) -> OfNobody:
    """Return whose cart a token opens; a token has 256 random bits, so a fast hash keeps it."""
    digest = hashlib.sha256(token.encode(errors="backslashreplace")).hexdigest()
    return OfNobody(token_hash=digest)


def _purchase(event: events.PaymentSucceeded) -> Purchase:
    return Purchase(
        order_id=event.order_id,
        user_id=event.user_id,
        bought=tuple(
            Line(product_id=line.product_id, quantity=line.quantity) for line in event.lines
        ),
        paid_at=event.paid_at,
    )


async def _or_none(neighbour: str, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
    """Return the answer, or None within a second when nobody answers."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await ask()
    except AWAY:
        DEGRADED.labels(neighbour).inc()
        return None
