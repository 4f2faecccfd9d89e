"""Payment's composition root: what opens, what runs in the background, what closes, and how errors look over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from doorbuster.kit import (
    auth,
    bus,
    client,
    config,
    consumer,
    database,
    ids,
    migrations,
    outbox,
    process,
    web,
    workers,
)
from doorbuster.kit.clock import utc_now

from . import domain
from .clients import HttpCheckout, HttpInventory, HttpOrders, is_signed, open_provider
from .config import PaymentConfig
from .consumers import cancellations
from .ports import Provider
from .routes import PaymentRoutes, RawCardsRefusedError, WebhookRefusedError
from .storage import OUTBOX, SqlPaymentStore
from .usecases import (
    Capture,
    OrderSweep,
    Pay,
    Recovery,
    Reversal,
    Settlement,
    Verdicts,
    reversals,
    sales,
)

NAME = "payment"
RECOVER_SECONDS = 1.0
CAPTURE_SECONDS = 0.5
REVERSE_SECONDS = 1.0
SWEEP_SECONDS = 2.0
_IN_PROGRESS = web.ErrorShape(
    status=409, code="PAYMENT_IN_PROGRESS", title="A payment is under way", retry_after=1
)
ERRORS: dict[type[Exception], web.ErrorShape] = {
    **database.ERRORS,
    domain.UnknownOrderError: web.ErrorShape(
        status=404, code="UNKNOWN_ORDER", title="There is no such order"
    ),
    domain.AmountMismatchError: web.ErrorShape(
        status=422, code="AMOUNT_MISMATCH", title="The order costs something else"
    ),
    domain.IdempotencyKeyReusedError: web.ErrorShape(
        status=422, code="IDEMPOTENCY_KEY_REUSED", title="This key belongs to another request"
    ),
    domain.PaymentInProgressError: _IN_PROGRESS,
    domain.HoldExpiredError: web.ErrorShape(
        status=409, code="HOLD_EXPIRED", title="The units are no longer held"
    ),
    domain.TooManyAttemptsError: web.ErrorShape(
        status=429, code="RATE_LIMITED", title="Too many cards were tried", retry_after=60
    ),
    RawCardsRefusedError: web.ErrorShape(
        status=422, code="RAW_CARDS_REFUSED", title="Only the provider's tokens are taken"
    ),
    WebhookRefusedError: web.ErrorShape(
        status=400, code="BAD_SIGNATURE", title="This webhook is not the provider's"
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The use cases, and the loops that step them."""

    pay: Pay
    recovery: Recovery
    capture: Capture
    reversal: Reversal
    sale_sweep: OrderSweep
    reversal_sweep: OrderSweep
    verdicts: Verdicts
    settlement: Settlement


def _parts(
    settings: PaymentConfig,
    store: SqlPaymentStore,
    provider: Provider,
    services: "_Services",
    relay: outbox.Relay,
) -> _Parts:
    limits = settings.limits()
    inventory, orders = HttpInventory(services.inventory), HttpOrders(services.order)
    settlement = Settlement(
        store=store,
        provider=provider,
        inventory=inventory,
        clock=utc_now,
        announce=relay.wake.set,
    )
    return _Parts(
        settlement=settlement,
        pay=Pay(
            store=store,
            provider=provider,
            checkout=HttpCheckout(services.checkout),
            settlement=settlement,
            clock=utc_now,
            new_id=partial(ids.new_id, "txn"),
            secret=settings.psp_key,
            limits=limits,
        ),
        recovery=Recovery(
            store=store, provider=provider, settlement=settlement, clock=utc_now, limits=limits
        ),
        capture=Capture(
            store=store,
            provider=provider,
            clock=utc_now,
            limits=limits,
            announce=relay.wake.set,
        ),
        reversal=Reversal(
            store=store,
            provider=provider,
            clock=utc_now,
            limits=limits,
            announce=relay.wake.set,
        ),
        sale_sweep=OrderSweep(
            news=sales(orders),
            store=store,
            clock=utc_now,
            limits=limits,
            announce=relay.wake.set,
        ),
        reversal_sweep=OrderSweep(
            news=reversals(orders, inventory),
            store=store,
            clock=utc_now,
            limits=limits,
            announce=relay.wake.set,
        ),
        verdicts=Verdicts(store=store),
    )


@dataclass(frozen=True, kw_only=True)
class _Services:
    user: client.ServiceClient
    checkout: client.ServiceClient
    inventory: client.ServiceClient
    order: client.ServiceClient


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Wire the service; it needs its database at the start, and neither Kafka, the provider nor its neighbours."""
    settings = config.load(PaymentConfig)
    settings.require_sane()
    limits = settings.limits()
    async with AsyncExitStack() as opened:
        engine = await opened.enter_async_context(database.open_engine(settings.dsn))
        await migrations.require_current(engine, "doorbuster.payment")
        services = await _reach(opened, settings)
        kafka = await opened.enter_async_context(bus.open_bus(settings.kafka_bootstrap))
        provider = await opened.enter_async_context(
            open_provider(settings.psp_url, settings.psp_key)
        )
        relay = outbox.Relay(engine, OUTBOX, kafka)
        parts = _parts(settings, SqlPaymentStore(engine, limits), provider, services, relay)
        await _start_loops(opened, settings, parts, relay)
        authenticator = web.Authenticator(
            auth.UserVerifier(client.jwks_fetcher(services.user)),
            auth.ServiceVerifier(NAME, Path(settings.service_keys_dir)),
        )
        routes = PaymentRoutes(
            pay=parts.pay,
            verdicts=parts.verdicts,
            recovery=parts.recovery,
            is_signed=partial(is_signed, secret=settings.psp_webhook_secret),
            allow_raw_cards=settings.allow_raw_cards,
        )
        yield process.Service(
            name=NAME,
            app=web.create_app(routes=routes.table(), errors=ERRORS, authenticator=authenticator),
            checks={"database": partial(database.ping, engine)},
        )


async def _reach(opened: AsyncExitStack, settings: PaymentConfig) -> _Services:
    session = await opened.enter_async_context(client.open_session())
    signer = auth.ServiceSigner(NAME, Path(settings.service_key_file))

    def reach(callee: str, urls: tuple[str, ...]) -> client.ServiceClient:
        return client.ServiceClient(callee=callee, urls=urls, session=session, signer=signer)

    return _Services(
        user=reach("user", settings.user_urls),
        checkout=reach("checkout", settings.checkout_urls),
        inventory=reach("inventory", settings.inventory_urls),
        order=reach("order", settings.order_urls),
    )


async def _start_loops(
    opened: AsyncExitStack, settings: PaymentConfig, parts: _Parts, relay: outbox.Relay
) -> None:
    """Start the workers; the relay first, so that it stops last."""
    loops = (
        process.repeating("relay", relay.step, every_seconds=outbox.POLL_SECONDS, wake=relay.wake),
        process.repeating("payment_recovery", parts.recovery.step, every_seconds=RECOVER_SECONDS),
        process.repeating(
            "capture",
            parts.capture.step,
            every_seconds=CAPTURE_SECONDS,
            wake=parts.settlement.capture,
        ),
        process.repeating("reversal", parts.reversal.step, every_seconds=REVERSE_SECONDS),
        process.repeating("paid_order_sweep", parts.sale_sweep.step, every_seconds=SWEEP_SECONDS),
        process.repeating(
            "reversal_sweep", parts.reversal_sweep.step, every_seconds=SWEEP_SECONDS
        ),
        consumer.consuming(
            cancellations(settings.kafka_bootstrap, parts.reversal), "cancellations"
        ),
    )
    for loop in loops:
        await opened.enter_async_context(loop)
    looks = {
        "relay": relay.oldest_seconds,
        "payment_recovery": parts.recovery.oldest_seconds,
        "capture": parts.capture.oldest_seconds,
        "reversal": parts.reversal.oldest_seconds,
        "paid_order_sweep": parts.sale_sweep.oldest_seconds,
        "reversal_sweep": parts.reversal_sweep.oldest_seconds,
    }
    await opened.enter_async_context(workers.watching(looks))
