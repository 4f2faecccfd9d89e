"""Wires the inventory service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import sqlalchemy as sa

from doorbuster import availability
from doorbuster.contracts import events
from doorbuster.escrow import Escrow
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
    redis,
    web,
    workers,
)

from .clients import PaymentVerdicts
from .config import Config
from .consumers import TYPES, PaymentEvents
from .routes import ERRORS, MAX_BODY_BYTES, Control, Reservations, Stock
from .storage import ControlStore, Ledger, StockStore, open_database
from .usecases.availability import AvailabilityWriter, SaleTurns
from .usecases.control import ControlRoom, SaleBoard, StockDesk
from .usecases.pay import Payments, PinSweep
from .usecases.reap import HoldReaper, PermitReaper, ReturnWorker
from .usecases.reserve import Reserver
from .usecases.warm import Reconciler, Warmer

RELAY_CONNECTIONS = 2


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Open everything, run the background loops, close in reverse."""
    settings = config.load(Config)
    async with AsyncExitStack() as opened:
        enter = opened.enter_async_context
        engine = await enter(database.open_engine(settings.dsn, pool_size=RELAY_CONNECTIONS))
        await migrations.require_current(engine, "doorbuster.inventory")
        store = await enter(open_database(settings.dsn))
        escrow = Escrow(await enter(redis.open_servers(settings.redis_url)))
        kafka = await enter(bus.open_bus(settings.kafka_bootstrap))
        session = await enter(client.open_session(connections=20))

        ledger = Ledger(store, hold_seconds=settings.hold_seconds)
        stock = StockStore(store)
        control_store = ControlStore(store)
        relay = outbox.Relay(engine, outbox.table(sa.MetaData()), kafka)
        warmer = Warmer(stock, escrow)
        returns = ReturnWorker(stock, escrow, warmer)
        payments = Payments(ledger, warmer, relay.wake, returns.wake)
        signer = auth.ServiceSigner("inventory", settings.service_key_file)
        payment = client.ServiceClient(
            callee="payment", urls=settings.payment_urls, session=session, signer=signer
        )
        user = client.ServiceClient(
            callee="user", urls=settings.user_urls, session=session, signer=signer
        )
        cache = await enter(availability.open_cache(settings.redis_url, stock.availability))
        writer = AvailabilityWriter(stock, store.changes, cache)
        turns = SaleTurns(stock)
        sweep = PinSweep(
            ledger,
            PaymentVerdicts(service=payment),
            payments,
            older_than_seconds=settings.pin_sweep_seconds,
        )
        holds = HoldReaper(ledger, relay.wake, returns.wake)
        permits = PermitReaper(ledger, stock, escrow)
        reconciler = Reconciler(stock, escrow, warmer)
        for name, step, seconds, wake in (
            ("relay", relay.step, outbox.POLL_SECONDS, relay.wake),
            ("permit_return", returns.step, 0.2, returns.wake),
            ("warmer", warmer.step, 1.0, warmer.wake),
            ("hold_reaper", holds.step, 0.5, None),
            ("permit_reaper", permits.step, 1.0, None),
            ("reconciler", reconciler.step, 1.0, None),
            ("pin_sweep", sweep.step, 2.0, None),
            ("sale_turns", turns.step, 0.5, None),
            ("availability", writer.step, 5.0, store.changes.wake),
        ):
            await enter(process.repeating(name, step, every_seconds=seconds, wake=wake))
        await enter(
            workers.watching(
                {
                    "relay": relay.oldest_seconds,
                    "permit_return": returns.oldest_seconds,
                    "warmer": warmer.oldest_seconds,
                    "hold_reaper": holds.oldest_seconds,
                    "permit_reaper": permits.oldest_seconds,
                    "reconciler": reconciler.oldest_seconds,
                    "pin_sweep": sweep.oldest_seconds,
                    "sale_turns": turns.oldest_seconds,
                }
            )
        )
        listeners = consumer.of_orders(
            "inventory",
            bootstrap=settings.kafka_bootstrap,
            topic=events.ORDERS_TOPIC,
            pattern=events.SALE_TOPIC_PATTERN,
            types=TYPES,
            handle=PaymentEvents(payments).handle,
        )
        for group, listener in listeners.items():
            await enter(consumer.consuming(listener, group))
        reserver = Reserver(ledger, escrow, warmer)
        opened.push_async_callback(reserver.close)
        reservations = Reservations(reserver, payments, warmer, SaleBoard(control_store), ledger)
        control = Control(ControlRoom(control_store, stock, escrow, warmer))
        shelf = Stock(stock, StockDesk(control_store, warmer))
        app = web.create_app(
            routes=[*reservations.routes(), *control.routes(), *shelf.routes()],
            errors={**database.ERRORS, **ERRORS},
            authenticator=web.Authenticator(
                users=auth.UserVerifier(client.jwks_fetcher(user)),
                services=auth.ServiceVerifier("inventory", settings.service_keys_dir),
            ),
            max_body_bytes=MAX_BODY_BYTES,
        )
        yield process.Service(
            name="inventory", app=app, checks={"database": partial(database.ping, engine)}
        )
