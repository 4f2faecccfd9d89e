"""The watch: the only module that knows kopf, and all that kopf does here is to tell what changed.

No create, update or resume handler (their annotations grow and can block a deletion), no timer, no daemon: events
only. Finalizers and status are our own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import kopf
from typing_extensions import override

from doorbuster.kit import telemetry
from doorbuster_operator.cluster import count_forbidden
from doorbuster_operator.pool import model as pool_model
from doorbuster_operator.sale import model as sale_model

STOP_SECONDS = 0.5
Take = Callable[[str | None, Mapping[str, Any]], None]


class MissingRights(logging.Handler):
    """Counts the rights that kopf misses: it tells of them in its log and nowhere else."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if getattr(error, "status", None) == 403:
            count_forbidden(str(error))


def build_registry(*, on_sale: Take, on_pool: Take) -> kopf.OperatorRegistry:
    """Return kopf's registry with one event handler a kind."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(sale_model.GROUP, sale_model.VERSION, sale_model.PLURAL, registry=registry)
    async def sale_event(event: Mapping[str, Any], **_: Any) -> None:
        on_sale(event["type"], event["object"])

    @kopf.on.event(pool_model.GROUP, pool_model.VERSION, pool_model.PLURAL, registry=registry)
    async def pool_event(event: Mapping[str, Any], **_: Any) -> None:
        on_pool(event["type"], event["object"])

    return registry


def build_settings() -> kopf.OperatorSettings:
    """Return kopf's settings; its defaults wait minutes where a sale has seconds."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.execution.default_backoff = 1
    settings.networking.request_timeout = 5
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2)
    settings.queueing.error_delays = (1, 1, 2, 3, 5)
    settings.queueing.exit_timeout = 0.2
    settings.watching.server_timeout = 60
    settings.watching.client_timeout = 65
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = 65
    settings.process.ultimate_exiting_timeout = 5
    settings.persistence.finalizer = "doorbuster.dev/kopf"
    return settings


@asynccontextmanager
async def watching(
    *, namespace: str, on_sale: Take, on_pool: Take
) -> AsyncIterator["asyncio.Task[None]"]:
    """Watch one namespace while the context is open; the task ends only when kopf does."""
    # kopf tells of every event that it handled; we tell what came of it.
    log, rights = logging.getLogger("kopf"), MissingRights()
    log.setLevel(logging.WARNING)
    log.addHandler(rights)
    stop = asyncio.Event()
    tasks = await kopf.spawn_tasks(
        stop_flag=stop,
        registry=build_registry(on_sale=on_sale, on_pool=on_pool),
        settings=build_settings(),
        namespaces=[namespace],
        standalone=True,
    )
    # kopf takes over the signals; whoever opens this context puts its own handlers back. Its run_tasks() would, at
    # the end, wait for and cancel every task of the process that it did not start: here only its own are ended.
    task: asyncio.Task[None] = asyncio.create_task(_first_end(tasks), name="watch")
    try:
        yield task
    finally:
        task.cancel()
        log.removeHandler(rights)
        stop.set()
        _, running = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for each in running:
            each.cancel()
        if running:
            await asyncio.wait(running, timeout=STOP_SECONDS)


async def _first_end(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Return as soon as one of kopf's root tasks has ended: none does while the watch lives."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        if not each.cancelled() and each.exception() is not None:
            telemetry.log().error("watch_failed", error=repr(each.exception())[:300])
