"""The order service's composition root: what opens, what runs, what closes, and how errors look over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aiohttp import web as aiohttp_web

from doorbuster.kit import (
    auth,
    bus,
    client,
    config,
    consumer,
    database,
    migrations,
    outbox,
    process,
    web,
    workers,
)

from .clients import CheckoutClient, InventoryClient
from .config import OrderConfig
from .consumers import consumers
from .domain import (
    ImpossibleTimeError,
    NotCancellableError,
    NotReturnableError,
    NotShippableError,
    NotShippedError,
    UnknownOrderError,
)
from .routes import OrderRoutes
from .storage import OUTBOX, MysqlOrderStore
from .streams import Bells, TooManyListenersError, TooManyOfUserError
from .usecases import Orders

NAME = "order"
SWEEP_SECONDS = 2.0
UNKNOWN_ORDER = web.ErrorShape(status=404, code="UNKNOWN_ORDER", title="There is no such order")
ERRORS: dict[type[Exception], web.ErrorShape] = {
    **database.ERRORS,
    UnknownOrderError: UNKNOWN_ORDER,
    NotCancellableError: web.ErrorShape(
        status=409, code="NOT_CANCELLABLE", title="The order can no longer be cancelled"
    ),
    NotShippableError: web.ErrorShape(
        status=409, code="NOT_SHIPPABLE", title="The order is not to be shipped"
    ),
    NotShippedError: web.ErrorShape(
        status=409, code="NOT_SHIPPED", title="The order was not shipped"
    ),
    NotReturnableError: web.ErrorShape(
        status=409, code="NOT_RETURNABLE", title="The order cannot be returned"
    ),
    ImpossibleTimeError: web.BASE_ERRORS[web.InvalidError],
    TooManyListenersError: web.ErrorShape(
        status=503, code="UNAVAILABLE", title="Too many listen already", retry_after=5
    ),
    TooManyOfUserError: web.ErrorShape(
        status=429, code="TOO_MANY_STREAMS", title="You listen too often already", retry_after=5
    ),
    web.NotFoundError: UNKNOWN_ORDER,
}


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it needs its database at the start, and neither Kafka nor its neighbours."""
    settings = config.load(OrderConfig)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(database.open_engine(settings.dsn))
        await migrations.require_current(engine, "doorbuster.order")
        session = await stack.enter_async_context(client.open_session())
        signer = auth.ServiceSigner(NAME, settings.key_file)

        def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
            return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

        kafka = await stack.enter_async_context(bus.open_bus(settings.kafka_bootstrap))
        relay = outbox.Relay(engine, OUTBOX, kafka)
        bells = Bells()
        orders = Orders(
            store=MysqlOrderStore(engine),
            checkout=CheckoutClient(reach("checkout", settings.checkout_urls)),
            inventory=InventoryClient(reach("inventory", settings.inventory_urls)),
            announce=bells.ring,
            wake=relay.wake.set,
        )
        await _start_loops(stack, settings, orders, relay)
        authenticator = web.Authenticator(
            auth.UserVerifier(client.jwks_fetcher(reach("user", settings.user_urls))),
            auth.ServiceVerifier(NAME, settings.keys_dir),
        )
        app = web.create_app(
            routes=OrderRoutes(orders, bells).table(), errors=ERRORS, authenticator=authenticator
        )

        async def end_streams(_app: aiohttp_web.Application) -> None:
            bells.close()

        app.on_shutdown.append(end_streams)
        yield process.Service(
            name=NAME, app=app, checks={"database": partial(database.ping, engine)}
        )


async def _start_loops(
    stack: AsyncExitStack, settings: OrderConfig, orders: Orders, relay: outbox.Relay
) -> None:
    """Start the workers; the relay first, so that it stops last."""
    loops = [
        process.repeating("relay", relay.step, every_seconds=outbox.POLL_SECONDS, wake=relay.wake),
        process.repeating("unpaid_order_sweep", orders.sweep, every_seconds=SWEEP_SECONDS),
        process.repeating(
            "unrefunded_order_sweep", orders.tell_again, every_seconds=SWEEP_SECONDS
        ),
    ]
    loops += [
        consumer.consuming(taker, name)
        for name, taker in consumers(settings.kafka_bootstrap, orders).items()
    ]
    looks = {
        "relay": relay.oldest_seconds,
        "unpaid_order_sweep": orders.oldest_seconds,
        "unrefunded_order_sweep": orders.oldest_untold_seconds,
    }
    for loop in [*loops, workers.watching(looks)]:
        await stack.enter_async_context(loop)
