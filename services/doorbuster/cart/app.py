"""The cart service's composition root: what opens, what runs, what closes, and how errors look over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from doorbuster import availability
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

from .clients import HttpCatalogue, HttpSales
from .config import CartConfig
from .consumers import consumers
from .domain import CartFullError, UnknownCartError, UnknownProductError
from .routes import CartRoutes
from .storage import PostgresCartStore
from .usecases import Carts, SalesBoard

NAME = "cart"
SALES_SECONDS = 1.0
SWEEP_SECONDS = 60.0
_UNKNOWN_CART = web.ErrorShape(status=404, code="UNKNOWN_CART", title="There is no such cart")
ERRORS: dict[type[Exception], web.ErrorShape] = {
    **database.ERRORS,
    UnknownCartError: _UNKNOWN_CART,
    web.NotFoundError: _UNKNOWN_CART,
    CartFullError: web.ErrorShape(status=409, code="CART_FULL", title="The cart is full"),
    UnknownProductError: web.ErrorShape(
        status=422, code="UNKNOWN_PRODUCT", title="There is no such product"
    ),
}


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it needs its database at the start, and neither Kafka, Redis nor its neighbours."""
    settings = config.load(CartConfig)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        engine = await enter(database.open_engine(settings.dsn))
        await migrations.require_current(engine, "doorbuster.cart")
        session = await enter(client.open_session())
        signer = auth.ServiceSigner(NAME, settings.key_file)

        def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
            return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

        inventory = reach("inventory", settings.inventory_urls)
        stock = await enter(
            availability.open_cache(settings.redis_url, availability.asking(inventory))
        )
        board = SalesBoard(HttpSales(inventory))
        carts = Carts(
            store=PostgresCartStore(engine),
            catalogue=HttpCatalogue(reach("product", settings.product_urls)),
            board=board,
            stock=stock,
        )
        for name, taker in consumers(settings.kafka_bootstrap, carts).items():
            await enter(consumer.consuming(taker, name))
        await enter(process.repeating("sales_board", board.step, every_seconds=SALES_SECONDS))
        await enter(process.repeating("cart_sweep", carts.sweep, every_seconds=SWEEP_SECONDS))
        await enter(workers.watching({"cart_sweep": carts.oldest_seconds}))
        authenticator = web.Authenticator(
            auth.UserVerifier(client.jwks_fetcher(reach("user", settings.user_urls))),
            auth.ServiceVerifier(NAME, settings.keys_dir),
        )
        app = web.create_app(
            routes=CartRoutes(carts).table(), errors=ERRORS, authenticator=authenticator
        )
        yield process.Service(
            name=NAME, app=app, checks={"database": partial(database.ping, engine)}
        )
