"""The running platform as a mutation sees it: objects in, and what the other systems made of them out."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from kubernetes.aio import client as kube

from doorbuster.contracts import control, events, internal
from doorbuster.kit import auth, client, ids
from doorbuster.kit.clock import utc_now
from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import Kube, RefusedByServerError

Value = TypeVar("Value")

FOLLOWS_WITHIN_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.2
NAMESPACE = "default"
RARELY_SECONDS = 3600
AMOUNT_MINOR = 99_900
PRICE = {"currency": "USD", "amountMinor": AMOUNT_MINOR}
SALE, POOL = "FlashSale", "InventoryPool"
_AUTOSCALERS = ("autoscaling", "v2", NAMESPACE, "horizontalpodautoscalers")
_DEPLOYMENTS = ("apps", "v1", NAMESPACE, "deployments")


class IgnoredError(AssertionError):
    """The system did not follow in time, or followed what was refused."""


def fresh_name() -> str:
    """Return a name that nobody else uses; also a sku."""
    return f"m-{secrets.token_hex(4)}"


def stamp(moment: datetime) -> str:
    """Return a time as the schemas write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def right_after(stamped: str) -> str:
    """Return the earliest closeTime of a sale that opens at ``stamped``."""
    return stamp(datetime.fromisoformat(stamped) + timedelta(seconds=1))


async def until(
    look: Callable[[], Awaitable[Value]], holds: Callable[[Value], bool], what: str
) -> float:
    """Look until it holds; returns the seconds it took. Raises IgnoredError with what was seen last."""
    began = time.monotonic()
    while True:
        seen = await look()
        took = time.monotonic() - began
        if holds(seen):
            return took
        if took > FOLLOWS_WITHIN_SECONDS:
            raise IgnoredError(f"{what}: still {seen} after {took:.0f} s")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


class Stage:
    """Makes objects with names of their own and remembers them; use :func:`open_stage`."""

    def __init__(
        self,
        api: Kube,
        operator: client.ServiceClient,
        checkout: client.ServiceClient,
        kafka: AIOKafkaAdminClient,
    ) -> None:
        self.kube = api
        self._operator = operator
        self._checkout = checkout
        self._kafka = kafka
        self._others = kube.CustomObjectsApi(api.client)
        self._made: list[tuple[str, str]] = []
        self._made_others: list[tuple[tuple[str, ...], str]] = []

    # --- Kubernetes -------------------------------------------------------------------------------

    async def pool(self, name: str = "", **spec: Any) -> str:
        """Make a pool of 5 whose counters are read once an hour; returns its name, which is its sku."""
        name = name or fresh_name()
        fields = {"sku": name, "capacity": 5, "auditIntervalSeconds": RARELY_SECONDS}
        await self._create(POOL, name, fields | spec)
        return name

    async def sale(
        self, *, opens_in: float = 3600, name: str = "", **spec: Any
    ) -> tuple[str, dict[str, Any]]:
        """Make a sale over the pool of its name; returns the name and the object."""
        name = name or await self.pool()
        opens = utc_now() + timedelta(seconds=opens_in)
        fields: dict[str, Any] = {
            "openTime": stamp(opens),
            "closeTime": stamp(opens + timedelta(seconds=1800)),
            "items": [{"sku": name, "poolName": name, "price": PRICE}],
        }
        return name, await self._create(SALE, name, fields | spec)

    async def _create(self, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        body = {
            "apiVersion": "doorbuster.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": dict(spec),
        }
        self._made.append((kind, name))
        made: dict[str, Any] = await self.kube.create(body)
        return made

    async def change(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        """Change fields of a spec by a merge patch."""
        await self.kube.patch(kind, name, {"spec": dict(spec)})

    async def status(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object's status, empty without one."""
        found = await self.kube.get(kind, name)
        return dict((found or {}).get("status") or {})

    async def reason(self, kind: str, name: str, condition: str) -> str:
        """Return the reason of a condition, empty without it."""
        told = (await self.status(kind, name)).get("conditions", [])
        return next((each["reason"] for each in told if each["type"] == condition), "")

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        await self.kube.patch(
            kind, name, {"metadata": {"annotations": {"doorbuster.dev/allow-delete": "true"}}}
        )
        await self.kube.delete(kind, name)

        async def look() -> Any:
            found = await self.kube.get(kind, name)
            return None if found is None else found.get("status")

        await until(look, lambda seen: seen is None, f"{kind} {name} shall be gone")

    async def autoscaler(self, *, ready: int) -> str:
        """Make a Deployment with so many ready replicas and its marked autoscaler of 1 to 20; returns their name."""
        name = fresh_name()
        labels = {"app": name}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "none"}]},
                },
            },
        }
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        autoscaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {
                "name": name,
                "annotations": {"doorbuster.dev/base-min-replicas": "1"},
            },
            "spec": {"scaleTargetRef": target, "maxReplicas": 20},
        }
        for where, body in ((_DEPLOYMENTS, deployment), (_AUTOSCALERS, autoscaler)):
            await self._others.create_namespaced_custom_object(*where, body)
            self._made_others.append((where, name))
        status = {"replicas": ready, "readyReplicas": ready}
        await self._others.patch_namespaced_custom_object_status(
            *_DEPLOYMENTS, name, {"status": status}, _content_type="application/merge-patch+json"
        )
        return name

    async def min_replicas(self, name: str) -> int:
        """Return an autoscaler's minReplicas."""
        found = await self._others.get_namespaced_custom_object(*_AUTOSCALERS, name)
        return int(found["spec"].get("minReplicas", 1))

    # --- inventory --------------------------------------------------------------------------------

    async def gate(self, sale: Mapping[str, Any]) -> control.SaleState | None:
        """Return a sale's gate as inventory stores it."""
        answer = await self._operator.call("GET", "/control/v1/sales?since=0", control.SaleStates)
        uid = sale["metadata"]["uid"]
        return next((each for each in answer.sales if each.uid == uid), None)

    async def stock(self, sku: str) -> control.PoolState | None:
        """Return a stock as inventory stores it."""
        answer = await self._operator.call("GET", "/control/v1/pools?since=0", control.PoolStates)
        return next((each for each in answer.pools if each.sku == sku), None)

    async def hold(self, sale: Mapping[str, Any]) -> None:
        """Let somebody hold one unit of a sale that is open."""
        name = sale["metadata"]["name"]
        line = internal.ReserveLine(
            product_id=ids.product_id(name),
            quantity=1,
            price_minor=AMOUNT_MINOR,
            currency="USD",
            sale_uid=sale["metadata"]["uid"],
        )
        item = internal.ReserveItem(
            order_id=ids.order_id(secrets.token_hex(4), "key"),
            user_id=ids.new_id("user"),
            request_hash="h",
            topic=events.sale_topic(NAMESPACE, name),
            lines=[line],
        )
        answer = await self._checkout.call(
            "POST",
            "/internal/v1/reservations",
            internal.ReserveResults,
            body=internal.ReserveBatch(items=[item]),
        )
        outcome = answer.results[0].outcome
        assert outcome == "HELD", f"the hold was answered {outcome}"

    # --- Kafka ------------------------------------------------------------------------------------

    async def topic(self, name: str) -> dict[str, int] | None:
        """Return partitions, copies and retention (ms) of a sale's topic; None without it."""
        topic = events.sale_topic(NAMESPACE, name)
        (found,) = await self._kafka.describe_topics([topic])
        if found["error_code"]:
            return None
        answers = await self._kafka.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic)]
        )
        configs = {entry[0]: entry[1] for entry in answers[0].resources[0][4]}
        return {
            "partitions": len(found["partitions"]),
            "copies": len(found["partitions"][0]["replicas"]),
            "retention": int(configs["retention.ms"]),
        }

    async def forget_topic(self, name: str) -> None:
        """Delete a sale's topic."""
        await self._kafka.delete_topics([events.sale_topic(NAMESPACE, name)])

    async def clear(self) -> None:
        """Delete all that was made, the sales first; what is gone already is fine."""
        for kind in (SALE, POOL):
            names = [name for made, name in self._made if made == kind]
            await asyncio.gather(*(self._delete_if_there(kind, name) for name in names))
        for where, name in self._made_others:
            await self._others.delete_namespaced_custom_object(*where, name)

    async def _delete_if_there(self, kind: str, name: str) -> None:
        try:
            await self.delete(kind, name)
        except RefusedByServerError as error:
            if "not found" not in str(error):
                raise


@asynccontextmanager
async def open_stage(environment: Mapping[str, str], keys: Path) -> AsyncIterator[Stage]:
    """Connect to a stack by its environment and the folder of its services' keys."""
    urls = tuple(environment["DOORBUSTER_INVENTORY_URLS"].split(","))
    async with AsyncExitStack() as opened:
        api = await opened.enter_async_context(cluster.connect(environment["KUBECONFIG"]))
        session = await opened.enter_async_context(client.open_session())
        operator, checkout = (
            client.ServiceClient(
                callee="inventory",
                urls=urls,
                session=session,
                signer=auth.ServiceSigner(caller, keys / f"{caller}.pem"),
            )
            for caller in ("operator", "checkout")
        )
        kafka = AIOKafkaAdminClient(bootstrap_servers=environment["DOORBUSTER_KAFKA_BOOTSTRAP"])
        await kafka.start()
        opened.push_async_callback(kafka.close)
        yield Stage(Kube(api, NAMESPACE), operator, checkout, kafka)
