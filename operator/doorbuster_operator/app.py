"""The operator's composition: be elected, take a fence, reconcile; leave when the lease is lost."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from typing import Any

from doorbuster.kit import auth, client, process, telemetry
from doorbuster_operator import cluster, handlers, metrics
from doorbuster_operator.config import OperatorConfig
from doorbuster_operator.election import Election
from doorbuster_operator.inventory import Inventory
from doorbuster_operator.reconcile import Reconciler
from doorbuster_operator.topics import KafkaTopics

CALLER = "operator"
CONTROL_TIMEOUT_SECONDS = 3.0
LAG_EVERY_SECONDS = 1.0


async def run(config: OperatorConfig) -> int:
    """Run until a signal (0) or until the lease is lost (1); returns the exit code."""
    stop = asyncio.Event()
    _take_signals(stop)
    metrics.LEADER.labels(config.lease_name).set(0)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(client.open_session(connections=20))
        api = await stack.enter_async_context(cluster.connect(config.kubeconfig))
        leases = cluster.KubernetesLeases(api, config.namespace, config.lease_name)
        election = Election(leases, config.holder, monotonic=time.monotonic)
        inventory = Inventory(
            client.ServiceClient(
                callee="inventory",
                urls=config.inventory_urls,
                session=session,
                signer=auth.ServiceSigner(CALLER, config.service_key_file),
                timeout_seconds=CONTROL_TIMEOUT_SECONDS,
            ),
            lease=(config.namespace, config.lease_name),
            holder=config.holder,
        )

        def leads() -> bool:
            return election.is_leader

        reconciler = Reconciler(
            cluster=cluster.Cluster(api, config.namespace, may_write=leads),
            inventory=inventory,
            topics=KafkaTopics(config.kafka_bootstrap, may_write=leads),
            holder=config.holder,
            relist_seconds=config.relist_seconds,
        )
        admin = process.admin_app(
            _checks(leases, election, inventory),
            stop,
            signs_of_life=signs_of_life(election, reconciler, config.watch_seconds),
        )
        await stack.enter_async_context(
            process.listen(admin, config.host, config.admin_port, drain_seconds=0.5)
        )
        meter = process.LagMeter()
        await stack.enter_async_context(
            process.repeating("loop_lag", meter.measure, every_seconds=LAG_EVERY_SECONDS)
        )
        process.calm_collector()
        if not await _until_elected(election, stop):
            return 0
        return await _lead(config, election, reconciler, stop)


async def _until_elected(election: Election, stop: asyncio.Event) -> bool:
    """Wait for the lease as a warm standby; tells whether it was won before the signal to stop.

    Raises what the election ended with.
    """
    acquire = asyncio.create_task(election.acquire(), name="acquire")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({acquire, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        acquire.cancel()
        stopped.cancel()
    if stop.is_set():
        await election.release()
        return False
    acquire.result()  # an election that failed is not won
    return True


async def _lead(
    config: OperatorConfig, election: Election, reconciler: Reconciler, stop: asyncio.Event
) -> int:
    """Reconcile while the lease is held; the exit code tells whether this process was asked to leave."""
    metrics.LEADER.labels(config.lease_name).set(1)
    keep = asyncio.create_task(election.keep(), name="keep-lease")
    async with AsyncExitStack() as stack:
        stack.callback(keep.cancel)
        await stack.enter_async_context(reconciler.running())
        watch = await stack.enter_async_context(
            handlers.watching(
                namespace=config.namespace,
                on_sale=reconciler.on_sale,
                on_pool=reconciler.on_pool,
            )
        )
        _take_signals(stop)
        ends = {
            "stopped": asyncio.create_task(stop.wait(), name="stop"),
            "lease_lost": keep,
            "fenced": asyncio.create_task(reconciler.fenced.wait(), name="fenced"),
            "watch_ended": watch,
        }
        telemetry.log().info("operator_leads", holder=config.holder, namespace=config.namespace)
        await asyncio.wait(ends.values(), return_when=asyncio.FIRST_COMPLETED)
        why = next(name for name, task in ends.items() if task.done())
        for name in ("stopped", "fenced"):
            ends[name].cancel()
        telemetry.log().info("operator_leaves", reason=why)
        if why == "fenced":
            await reconciler.tell_fenced()
        # The next leader need not wait for the rest of our tidying up.
        await reconciler.stop()
        keep.cancel()
        await election.release()
    metrics.LEADER.labels(config.lease_name).set(0)
    return 0 if why == "stopped" else 1


class StuckError(Exception):
    """Something of this process does not work any more and will not by itself."""


def signs_of_life(
    election: Election, reconciler: Reconciler, watch_seconds: float
) -> dict[str, process.Check]:
    """Return what must hold for this process to be worth keeping; a blocked loop does not even answer."""

    async def watch() -> None:
        if reconciler.watch_age_seconds > watch_seconds:
            raise StuckError

    async def lease() -> None:
        if election.is_stuck:
            raise StuckError

    return {"watch": watch, "lease": lease}


def _checks(
    leases: cluster.KubernetesLeases, election: Election, inventory: Inventory
) -> dict[str, process.Check]:
    async def kubernetes() -> Any:
        return await leases.read()

    async def inventory_service() -> None:
        if election.is_leader and inventory.silence is not None:
            raise ConnectionError(inventory.silence)

    return {"kubernetes": kubernetes, "inventory": inventory_service}


def _take_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
