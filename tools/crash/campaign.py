"""The campaign: an undisturbed run learns the trace, then one run for each write and variant, several at once."""

import asyncio
import itertools
import os
import pathlib
import socket
import ssl
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient

from devstack.certificates import Authority
from devstack.services import own_key, shared_environment
from devstack.stack import Stack
from doorbuster.kit import auth, bus, client, clock

from . import ending, prey, scenario
from .admin import Admin
from .cluster_proxy import ClusterProxy, serving
from .inventory_proxy import InventoryProxy
from .kafka_proxy import KafkaProxy
from .observer import observing
from .shopper import Shopper
from .tape import Spot, Tape, Trap

PARTS = ("apiserver", "kafka", "inventory")
RUN_SECONDS = 150.0
ATTEMPTS = 3
LINE_BYTES = 1024 * 1024
CONNECTIONS = 400


@dataclass
class Outcome:
    """One run: where it was struck, what it wrote, how it ended, and what is wrong about it."""

    trap: Trap | None
    spots: list[Spot] = field(default_factory=list)
    is_sprung: bool = False
    ending: "ending.Ending | None" = None
    violations: list[str] = field(default_factory=list)
    lives: int = 0
    ended_by_itself: int = 0
    is_too_slow: bool = False
    attempts: int = 1
    seconds: float = 0.0


class Campaign:
    """Plays runs on one stack; use :func:`open_campaign`."""

    def __init__(self, stack: Stack, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = stack
        self._folder = folder
        self._numbers = itertools.count(1)
        self._tapes: dict[str, Tape] = {}
        self._prefix = f"crash-{os.getpid()}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open what all runs share."""
        site = self._stack.site
        environment = self._stack.env()
        keys = self._stack.layout.keys
        self._base = f"https://{site.host}:{site.port('apiserver')}"
        async with AsyncExitStack() as stack:
            self._as_operator = await stack.enter_async_context(_session(keys, "operator"))
            self._as_admin = await stack.enter_async_context(_session(keys, "admin"))
            plain = await stack.enter_async_context(client.open_session(connections=CONNECTIONS))
            self._plain = plain
            self._inventory = environment["DOORBUSTER_INVENTORY_URLS"]
            bootstrap = environment["DOORBUSTER_KAFKA_BOOTSTRAP"]
            self._bootstrap = bootstrap
            self._callers = {
                name: client.ServiceClient(
                    callee="inventory",
                    urls=(self._inventory,),
                    session=plain,
                    signer=auth.ServiceSigner(name, keys / f"{name}.pem"),
                    timeout_seconds=20.0,
                )
                for name in ("checkout", "operator")
            }
            self._kafka = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            await self._kafka.start()
            stack.push_async_callback(self._kafka.close)
            proxy = KafkaProxy(broker_port=site.port("kafka.proxied"), tape_of=self._tape_of)
            self.proxy_faults = proxy.faults
            await stack.enter_async_context(proxy.serving(site.port("kafka.proxy")))
            path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._zygote = await stack.enter_async_context(
                prey.zygote(dict(site.environment) | path)
            )
            yield

    def _tape_of(self, topic: str) -> Tape | None:
        return next(
            (tape for where, tape in self._tapes.items() if ending.is_of(topic, where)), None
        )

    async def run(self, trap: Trap | None) -> Outcome:
        """Play one run, undisturbed without a trap; what goes wrong in it is told in the outcome."""
        outcome = Outcome(trap)
        began = time.monotonic()
        try:
            async with asyncio.timeout(RUN_SECONDS):
                await self._play(outcome)
        except Exception as error:
            outcome.is_too_slow = isinstance(error, scenario.TooSlowError)
            where = traceback.extract_tb(error.__traceback__)[-1]
            cause = "" if error.__cause__ is None else f" by {error.__cause__!r}"
            outcome.violations.append(
                f"{type(error).__name__}: {error}{cause} ({where.name})"[:2000]
            )
        outcome.seconds = time.monotonic() - began
        return outcome

    async def _play(self, outcome: Outcome) -> None:
        namespace = f"{self._prefix}-{next(self._numbers):05}"
        admin = Admin(self._as_admin, self._base)
        await admin.make_namespace(namespace)
        async with AsyncExitStack() as stack:
            process = prey.OperatorProcess(self._zygote, {}, self._folder / f"{namespace}.log")
            tape = self._tapes[namespace] = Tape(process, outcome.trap)
            outcome.spots = tape.spots
            stack.callback(self._tapes.pop, namespace)
            process.environment = await self._environment(stack, namespace, tape)
            seen = await stack.enter_async_context(
                observing(self._as_admin, self._base, namespace)
            )
            stack.push_async_callback(process.die)
            await process.rise()
            shopper = Shopper(
                checkout=self._callers["checkout"],
                reader=self._callers["operator"],
                # A bus of its own: a producer asks for ever after topics that it once wrote to.
                open_bus=await stack.enter_async_context(bus.open_bus(self._bootstrap)),
            )
            play = scenario.Play(namespace, admin, seen, shopper)
            try:
                await play.perform()
            finally:
                outcome.is_sprung = tape.is_sprung
                outcome.lives = process.lives
                outcome.ended_by_itself = process.ended_by_itself
            gate = await shopper.gate(play.uid)
            assert gate is not None
            outcome.ending = await ending.read(play, await self._kafka.list_topics())
            outcome.violations = ending.violations(play, outcome.ending, gate, tape.fences)

    async def _environment(
        self, stack: AsyncExitStack, namespace: str, tape: Tape
    ) -> dict[str, str]:
        """Put this run's proxies up and return what its operator is told."""
        site = self._stack.site
        cluster = ClusterProxy(
            base=self._base, operator=self._as_operator, admin=self._as_admin, tape=tape
        )
        inventory = InventoryProxy(base=self._inventory, session=self._plain, tape=tape)
        cluster_url = await stack.enter_async_context(serving(cluster.handle))
        inventory_url = await stack.enter_async_context(serving(inventory.handle))
        kubeconfig = self._folder / f"{namespace}.kubeconfig"
        kubeconfig.write_text(_kubeconfig(cluster_url, namespace), encoding="utf-8")
        return {
            **shared_environment(site),
            **own_key(site, "operator"),
            "KUBECONFIG": str(kubeconfig),
            "DOORBUSTER_INVENTORY_URLS": inventory_url,
            "DOORBUSTER_KAFKA_BOOTSTRAP": f"127.0.0.1:{site.port('kafka.proxy')}",
            "DOORBUSTER_HOST": "127.0.0.1",
            "DOORBUSTER_ADMIN_PORT": str(_free_port()),
            "DOORBUSTER_OPERATOR_NAMESPACE": namespace,
            "DOORBUSTER_OPERATOR_IDENTITY": "operator",
        }


@asynccontextmanager
async def open_campaign(stack: Stack, folder: pathlib.Path) -> AsyncIterator[Campaign]:
    """Open a campaign on a stack that has :data:`PARTS` up; logs and kubeconfigs go into the folder."""
    campaign = Campaign(stack, folder)
    async with campaign.running():
        yield campaign


def traps(spots: Iterable[Spot]) -> list[Trap]:
    """Return both variants of every write."""
    return [Trap(spot, is_withheld) for spot in spots for is_withheld in (False, True)]


async def run_all(
    campaign: Campaign,
    wanted: Sequence[Trap | None],
    *,
    at_once: int,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Play a run for each trap; one whose write never came, or too slow for its play, is played again a few times."""
    free = asyncio.Semaphore(at_once)

    async def one(trap: Trap | None) -> Outcome:
        async with free:
            for attempt in range(1, ATTEMPTS + 1):
                outcome = await campaign.run(trap)
                outcome.attempts = attempt
                if (outcome.is_sprung or trap is None) and not outcome.is_too_slow:
                    break
            tell(outcome)
            return outcome

    return list(await asyncio.gather(*(one(trap) for trap in wanted)))


def _session(keys: pathlib.Path, name: str) -> aiohttp.ClientSession:
    """Return a session with one of the API server's client certificates."""
    authority = Authority(keys / "kubernetes", now=clock.utc_now())
    context = ssl.create_default_context(cafile=str(authority.path("ca.crt")))
    context.load_cert_chain(authority.path(f"{name}.crt"), authority.path(f"{name}.key"))
    connector = aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS)
    return aiohttp.ClientSession(connector=connector, read_bufsize=LINE_BYTES)


def _kubeconfig(server: str, namespace: str) -> str:
    """Return a kubeconfig without credentials: the proxy has them."""
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: crash\n"
        f"clusters: [{{name: crash, cluster: {{server: '{server}'}}}}]\n"
        "users: [{name: crash, user: {}}]\n"
        f"contexts: [{{name: crash, context: {{cluster: crash, user: crash, namespace: {namespace}}}}}]\n"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
