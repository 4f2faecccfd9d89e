"""The product service's composition root: what opens, what runs, what closes, and how errors look over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from doorbuster import availability
from doorbuster.kit import auth, client, config, consumer, mongo, process, web, workers

from .clients import InventoryClient, UsersClient
from .config import ProductConfig
from .consumers import consumers
from .domain import pictures, products, reviews
from .imaging import PillowStudio
from .routes import ProductRoutes
from .storage import (
    MongoProductStore,
    MongoReviewStore,
    MongoTicketStore,
    open_objects,
    prepare,
)
from .storage.schema import DATABASE
from .usecases.illustrate import Illustrate
from .usecases.look import Look, SalesBoard
from .usecases.manage import Manage
from .usecases.review import Reviewing
from .usecases.stock import Stock
from .usecases.sweep_uploads import UploadSweep

NAME = "product"
PICTURE_SECONDS = 0.5
UPLOAD_SWEEP_SECONDS = 600.0


def _shape(status: int, code: str, title: str) -> web.ErrorShape:
    return web.ErrorShape(status=status, code=code, title=title)


UNKNOWN_PRODUCT = _shape(404, "UNKNOWN_PRODUCT", "There is no such product")
ERRORS: dict[type[Exception], web.ErrorShape] = {
    web.NotFoundError: UNKNOWN_PRODUCT,
    products.UnknownProductError: UNKNOWN_PRODUCT,
    products.InvalidProductError: web.BASE_ERRORS[web.InvalidError],
    products.SkuTakenError: _shape(409, "SKU_TAKEN", "The sku is taken"),
    products.VersionChangedError: _shape(412, "VERSION_CHANGED", "Somebody else was faster"),
    products.VersionRequiredError: _shape(428, "VERSION_REQUIRED", "Say what you have read"),
    reviews.NotReceivedError: _shape(403, "NOT_RECEIVED", "You have not received this product"),
    reviews.AlreadyReviewedError: _shape(409, "ALREADY_REVIEWED", "You have reviewed it already"),
    reviews.UnknownReviewError: _shape(404, "UNKNOWN_REVIEW", "There is no such review"),
    pictures.UnknownImageError: _shape(404, "UNKNOWN_IMAGE", "There is no such picture"),
    pictures.TooManyImagesError: _shape(409, "TOO_MANY_IMAGES", "There are too many pictures"),
}


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it needs MongoDB at the start, and neither S3, Redis, Kafka nor its neighbours."""
    settings = config.load(ProductConfig)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            mongo.open_database(settings.mongo_url, default=DATABASE)
        )
        try:
            await prepare(database)
        except mongo.AwayError as error:
            raise process.StartError("MongoDB does not answer") from error
        session = await stack.enter_async_context(client.open_session())
        signer = auth.ServiceSigner(NAME, settings.key_file)

        def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
            return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

        inventory = reach("inventory", settings.inventory_urls)
        user = reach("user", settings.user_urls)
        objects = await stack.enter_async_context(
            open_objects(
                url=settings.s3_url,
                bucket=settings.s3_bucket,
                access_key=settings.s3_access_key,
                secret_key=settings.s3_secret_key,
                region=settings.s3_region,
            )
        )
        studio = PillowStudio()
        stack.callback(studio.close)
        store, review_store = MongoProductStore(database), MongoReviewStore(database)
        shelf = products.Shelf(settings.cdn_url)
        tickets = MongoTicketStore(database)
        sweep = UploadSweep(tickets=tickets, objects=objects)
        illustrate = Illustrate(
            store=store,
            tickets=tickets,
            objects=objects,
            studio=studio,
            shelf=shelf,
        )
        reviewing = Reviewing(store=store, review_store=review_store, users=UsersClient(user))
        for name, taker in consumers(settings.kafka_bootstrap, reviewing, Stock(store)).items():
            await stack.enter_async_context(consumer.consuming(taker, name))
        for name, step, seconds in (
            ("pictures", illustrate.step, PICTURE_SECONDS),
            ("upload_sweep", sweep.step, UPLOAD_SWEEP_SECONDS),
        ):
            await stack.enter_async_context(process.repeating(name, step, every_seconds=seconds))
        await stack.enter_async_context(workers.watching({"pictures": illustrate.oldest_seconds}))
        cache = await stack.enter_async_context(
            availability.open_cache(settings.redis_url, availability.asking(inventory))
        )
        routes = ProductRoutes(
            look=Look(
                store=store,
                review_store=review_store,
                board=SalesBoard(InventoryClient(inventory)),
                availability=cache,
                shelf=shelf,
            ),
            manage=Manage(store=store),
            reviewing=reviewing,
            illustrate=illustrate,
        )
        authenticator = web.Authenticator(
            auth.UserVerifier(client.jwks_fetcher(user)),
            auth.ServiceVerifier(NAME, settings.keys_dir),
        )
        yield process.Service(
            name=NAME,
            app=web.create_app(routes=routes.table(), errors=ERRORS, authenticator=authenticator),
            checks={"database": partial(mongo.ping, database)},
        )
