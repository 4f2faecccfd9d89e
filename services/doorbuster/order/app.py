"""The order service's composition root: what opens, what runs, what closes, and how errors look over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aiohttp import web as aiohttp_web

from doorbuster.kit import (
    auth,
    client,
    config,
    consumer,
    database,
    migrations,
    process,
    web,
    workers,
)

from .clients import CheckoutClient, InventoryClient
from .config import OrderConfig
from .consumers import consumers
from .domain import UnknownOrderError
from .routes import OrderRoutes
from .storage import MysqlOrderStore
from .streams import Bells, TooManyListenersError
from .usecases import Orders

NAME = "order"
SWEEP_SECONDS = 2.0
UNKNOWN_ORDER = web.ErrorShape(status=404, code="UNKNOWN_ORDER", title="There is no such order")
ERRORS: dict[type[Exception], web.ErrorShape] = {
    **database.ERRORS,
    UnknownOrderError: UNKNOWN_ORDER,
    TooManyListenersError: web.ErrorShape(
        status=503, code="UNAVAILABLE", title="Too many listen already", retry_after=5
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

        bells = Bells()
        orders = Orders(
            store=MysqlOrderStore(engine),
            checkout=CheckoutClient(reach("checkout", settings.checkout_urls)),
            inventory=InventoryClient(reach("inventory", settings.inventory_urls)),
            announce=bells.ring,
        )
        for name, taker in consumers(settings.kafka_bootstrap, orders).items():
            await stack.enter_async_context(consumer.consuming(taker, name))
        await stack.enter_async_context(
            process.repeating("unpaid_order_sweep", orders.sweep, every_seconds=SWEEP_SECONDS)
        )
        await stack.enter_async_context(
            workers.watching({"unpaid_order_sweep": orders.oldest_seconds})
        )
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
