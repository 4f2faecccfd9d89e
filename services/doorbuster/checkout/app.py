"""Checkout's composition: everything is wired here, by hand, and closed in reverse."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from doorbuster import escrow
from doorbuster.kit import (
    auth,
    bus,
    client,
    clock,
    coalescer,
    config,
    consumer,
    database,
    migrations,
    outbox,
    process,
    redis,
    web,
    workers,
)

from . import clients, storage
from .config import CheckoutConfig
from .consumers import consumers
from .domain import discounts, refusals
from .domain.totals import Terms
from .routes import Handlers
from .usecases.board import REFRESH_SECONDS, SalesBoard
from .usecases.check_out import CheckOut, Limits
from .usecases.discounting import Discounting
from .usecases.particulars import Particulars
from .usecases.quotes import QuoteBoard

MAX_BODY_BYTES = 64 * 1024
SWEEP_SECONDS = 2.0
_UNAVAILABLE = web.ErrorShape(
    status=503, code="UNAVAILABLE", title="A part of the shop does not answer", retry_after=1
)


def _shape(status: int, code: str, title: str, retry_after: int | None = None) -> web.ErrorShape:
    return web.ErrorShape(status=status, code=code, title=title, retry_after=retry_after)


ERRORS: dict[type[Exception], web.ErrorShape] = {
    **database.ERRORS,
    coalescer.QueueFullError: _UNAVAILABLE,
    refusals.SoldOutError: _shape(409, "SOLD_OUT", "Sold out"),
    refusals.WaitingError: _shape(409, "WAITING", "Others hold the last units", 1),
    refusals.WaitingRoomError: _shape(429, "WAITING_ROOM", "It is not your turn yet", 1),
    refusals.PriceChangedError: _shape(409, "PRICE_CHANGED", "The price has changed"),
    refusals.SaleNotOpenError: _shape(409, "SALE_NOT_OPEN", "The sale is not open yet", 1),
    refusals.SaleClosedError: _shape(409, "SALE_CLOSED", "The sale is over"),
    refusals.SaleSuspendedError: _shape(409, "SALE_SUSPENDED", "The sale is paused"),
    refusals.PerUserLimitError: _shape(409, "PER_USER_LIMIT", "Too many for one person"),
    refusals.HoldExpiredError: _shape(409, "HOLD_EXPIRED", "The units are no longer held"),
    refusals.PaymentInProgressError: _shape(
        409, "PAYMENT_IN_PROGRESS", "A payment is under way", 1
    ),
    refusals.AlreadyPaidError: _shape(409, "ALREADY_PAID", "The order is paid"),
    refusals.KeyReusedError: _shape(
        422, "IDEMPOTENCY_KEY_REUSED", "The key belongs to another order"
    ),
    refusals.UnknownProductError: _shape(422, "UNKNOWN_PRODUCT", "There is no such product"),
    refusals.MixedCurrencyError: _shape(422, "MIXED_CURRENCY", "More than one currency"),
    refusals.DuplicateProductError: _shape(422, "INVALID", "The request is not valid"),
    refusals.UnknownAddressError: _shape(422, "UNKNOWN_ADDRESS", "There is no such address"),
    refusals.UnknownDiscountCodeError: _shape(
        422, "UNKNOWN_DISCOUNT_CODE", "There is no such discount"
    ),
    refusals.NoDiscountError: _shape(404, "UNKNOWN_DISCOUNT_CODE", "There is no such discount"),
    refusals.DiscountNotApplicableError: _shape(
        422, "DISCOUNT_NOT_APPLICABLE", "The discount does not apply"
    ),
    refusals.DiscountUsedUpError: _shape(409, "DISCOUNT_USED_UP", "The discount is used up"),
    refusals.UnknownCartError: _shape(422, "UNKNOWN_CART", "There is no such cart"),
    refusals.CartChangedError: _shape(409, "CART_CHANGED", "The cart has changed"),
    refusals.AmountTooLargeError: _shape(422, "AMOUNT_TOO_LARGE", "The order is too large"),
    refusals.AmountTooSmallError: _shape(422, "AMOUNT_TOO_SMALL", "The order is too small"),
    discounts.InvalidDiscountError: web.BASE_ERRORS[web.InvalidError],
    refusals.UnknownOrderError: _shape(404, "UNKNOWN_ORDER", "There is no such order"),
}


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Build the service from the environment; raises ConfigError or StartError when it cannot start."""
    settings = config.load(CheckoutConfig)
    async with AsyncExitStack() as opened:
        enter = opened.enter_async_context
        engine = await enter(database.open_engine(settings.dsn))
        await migrations.require_current(engine, __package__)
        signer = _signer(settings)
        session = await enter(client.open_session())

        def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
            return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

        inventory = await enter(
            clients.open_inventory(reach("inventory", settings.inventory_urls))
        )
        users = reach("user", settings.user_urls)
        catalogue = clients.HttpCatalogue(reach("product", settings.product_urls))
        opened.push_async_callback(catalogue.close)
        servers = await enter(redis.open_servers(settings.redis_url))
        permits = escrow.Escrow(servers, permit_seconds=settings.permit_seconds)
        opened.push_async_callback(permits.close)
        rooms = escrow.WaitingRooms(servers)
        opened.push_async_callback(rooms.close)
        events = await enter(bus.open_bus(settings.kafka_bootstrap))
        relay = outbox.Relay(engine, storage.OUTBOX, events)
        store = await enter(storage.open_orders(engine, relay.wake))
        discount_store = storage.PostgresDiscounts(engine)
        board = SalesBoard(inventory, time.monotonic)
        check_out = CheckOut(
            board=board,
            quotes=QuoteBoard(catalogue, time.monotonic),
            particulars=Particulars(
                carts=clients.HttpCarts(reach("cart", settings.cart_urls)),
                addresses=clients.HttpAddresses(users),
                discounts=discount_store,
                terms=_terms(settings),
                now=clock.utc_now,
            ),
            permits=permits,
            locks=escrow.ProductLocks(servers),
            rooms=rooms,
            inventory=inventory,
            store=store,
            limits=Limits(per_product=settings.most_per_product, direct=settings.most_direct),
            now=clock.utc_now,
            monotonic=time.monotonic,
        )
        discounting = Discounting(store=discount_store, inventory=inventory, now=clock.utc_now)
        handlers = Handlers(
            check_out=check_out,
            board=board,
            store=store,
            inventory=inventory,
            discounting=discounting,
        )
        app = web.create_app(
            routes=handlers.routes(),
            errors=ERRORS,
            authenticator=web.Authenticator(
                users=auth.UserVerifier(client.jwks_fetcher(users)),
                services=auth.ServiceVerifier("checkout", settings.service_keys_dir),
            ),
            max_body_bytes=MAX_BODY_BYTES,
        )
        await enter(
            process.repeating(
                "relay", relay.step, every_seconds=outbox.POLL_SECONDS, wake=relay.wake
            )
        )
        await enter(process.repeating("sales", board.step, every_seconds=REFRESH_SECONDS))
        await enter(
            process.repeating("discount_sweep", discounting.sweep, every_seconds=SWEEP_SECONDS)
        )
        await enter(
            workers.watching(
                {
                    "relay": relay.oldest_seconds,
                    "discount_sweep": discounting.oldest_seconds,
                }
            )
        )
        for name, taker in consumers(settings.kafka_bootstrap, discounting).items():
            await enter(consumer.consuming(taker, name))
        yield process.Service(
            name="checkout", app=app, checks={"postgres": lambda: database.ping(engine)}
        )


def _terms(settings: CheckoutConfig) -> Terms:
    return Terms(
        shipping_minor=dict(settings.shipping_minor),
        tax_millionths=settings.tax_millionths,
        smallest_charge_minor=dict(settings.smallest_charge_minor),
    )


def _signer(settings: CheckoutConfig) -> auth.ServiceSigner:
    try:
        return auth.ServiceSigner("checkout", settings.service_key_file)
    except (OSError, TypeError, ValueError) as error:
        raise process.StartError(f"the service key cannot be read: {error}") from error
