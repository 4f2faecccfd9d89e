"""The search service's composition root: what opens, what runs, what closes, and how errors look over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from doorbuster import availability
from doorbuster.kit import auth, client, config, consumer, process, web

from .clients import InventoryClient, ProductClient
from .config import SearchConfig
from .consumers import consumers
from .domain.cursors import CursorError
from .domain.queries import PageTooDeepError
from .ports import QueryRefusedError
from .routes import SearchRoutes
from .storage import open_index
from .usecases.bury import GhostSweep, Undertaker
from .usecases.fill import Filler
from .usecases.follow import Follower
from .usecases.live import LiveView
from .usecases.look import Search

NAME = "search"
SALES_SECONDS = 1.0
PROBE_SECONDS = 0.5
FILL_SECONDS = 2.0
GHOST_SECONDS = 1800.0
ERRORS: dict[type[Exception], web.ErrorShape] = {
    PageTooDeepError: web.ErrorShape(
        status=422, code="PAGE_TOO_DEEP", title="This page lies too deep"
    ),
    CursorError: web.ErrorShape(status=422, code="INVALID", title="The request is not valid"),
    QueryRefusedError: web.ErrorShape(
        status=422, code="INVALID", title="The request is not valid"
    ),
    client.RefusedError: web.ErrorShape(
        status=503, code="UNAVAILABLE", title="A part of the shop does not answer", retry_after=1
    ),
}


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it starts without Elasticsearch, Kafka, Redis and its neighbours, and says what it lacks."""
    settings = config.load(SearchConfig)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(client.open_session())
        signer = auth.ServiceSigner(NAME, settings.key_file)

        def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
            return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

        index = await stack.enter_async_context(
            open_index(
                settings.elasticsearch_url,
                replicas=settings.replicas,
                search_seconds=settings.timeout_seconds,
            )
        )
        inventory = reach("inventory", settings.inventory_urls)
        stock = await stack.enter_async_context(
            availability.open_cache(settings.redis_url, availability.asking(inventory))
        )
        products = ProductClient(reach("product", settings.product_urls))
        live = LiveView(stock=stock, inventory=InventoryClient(inventory))
        search = Search(index=index, products=products, live=live)
        filler = Filler(index, products)
        undertaker = Undertaker(index, products)
        ghosts = GhostSweep(index, undertaker)
        for name, step, seconds in (
            ("sales", live.refresh, SALES_SECONDS),
            ("index_probe", search.probe, PROBE_SECONDS),
            ("index_fill", filler.fill_first, FILL_SECONDS),
            ("ghost_sweep", ghosts.step, GHOST_SECONDS),
        ):
            await stack.enter_async_context(process.repeating(name, step, every_seconds=seconds))
        follower = Follower(index, undertaker)
        taking = consumers(settings.kafka_bootstrap, settings.cdn_url, follower)
        for name, taker in taking.items():
            await stack.enter_async_context(consumer.consuming(taker, name))
        app = web.create_app(
            routes=SearchRoutes(search).table(), errors=ERRORS, authenticator=web.Authenticator()
        )
        # No check of Elasticsearch: without it the service still answers.
        yield process.Service(name=NAME, app=app)
