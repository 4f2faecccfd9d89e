"""The play: one pool, one sale and one autoscaler live through everything that the operator writes about.

Every act waits for what it caused, so that the same writes happen in the same order in every run.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from doorbuster.kit import clock

from .admin import Admin
from .observer import CUSTOM, Observer
from .shopper import CURRENCY, PRICE_MINOR, Shopper, eventually

NAME = "drop"
UNITS = 3
RAISED = 5
SOLD = 4
BASE_REPLICAS = 1
WARM_REPLICAS = 4
AHEAD = timedelta(seconds=9)
TTL_SECONDS = 4  # in which the autoscaler is given back, and the status tells so
SALES, POOLS, SCALERS = "flashsales", "inventorypools", "horizontalpodautoscalers"
Json = dict[str, Any]


class TooSlowError(Exception):
    """The gate was armed after the opening: the machine was too slow for the play, which tells nothing then."""


@dataclass
class Play:
    """One run's namespace, with everybody in it but the operator; ``early`` are holds before the opening."""

    namespace: str
    admin: Admin
    seen: Observer
    shopper: Shopper
    early: int = 0
    uid: str = ""

    @property
    def sku(self) -> str:
        return self.namespace

    def path(self, kind: str) -> str:
        return f"{CUSTOM}/namespaces/{self.namespace}/{kind}/{NAME}"

    async def perform(self) -> None:
        """Play all acts; raises TimeoutError when the operator does not follow, or TooSlowError."""
        await self._prepare()
        sale = await self._announce()
        await self._open(sale)
        await self._pause()
        await self._sell_out(sale)
        await self._grow(sale)
        await self._close()
        await self._clear()

    async def _prepare(self) -> None:
        """An autoscaler that is marked with its base, its Deployment, and a pool."""
        where = f"namespaces/{self.namespace}"
        web = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        labels = {"app": "web"}
        pod = {"containers": [{"name": "web", "image": "web"}]}
        deployment = await self.admin.create(
            f"/apis/apps/v1/{where}/deployments",
            {
                "metadata": {"name": "web"},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
        )
        # Nobody runs pods here: the Deployment says that it has them.
        await self.admin.change(
            f"/apis/apps/v1/{where}/deployments/{deployment['metadata']['name']}/status",
            {"status": {"replicas": WARM_REPLICAS, "readyReplicas": WARM_REPLICAS}},
        )
        await self.admin.create(
            f"/apis/autoscaling/v2/{where}/{SCALERS}",
            {
                "metadata": {
                    "name": NAME,
                    "annotations": {"doorbuster.dev/base-min-replicas": str(BASE_REPLICAS)},
                },
                "spec": {"scaleTargetRef": web, "maxReplicas": 2 * WARM_REPLICAS},
            },
        )
        await self.admin.create(
            f"{CUSTOM}/{where}/{POOLS}",
            {
                "apiVersion": "doorbuster.dev/v1alpha1",
                "kind": "InventoryPool",
                "metadata": {"name": NAME},
                "spec": {"sku": self.sku, "capacity": UNITS},
            },
        )
        await self.seen.until(
            POOLS, "the stock is applied", reason_is("CapacityApplied", "Applied")
        )

    async def _announce(self) -> Json:
        """A sale for next hour is accepted, and its topic made; then it is set for now and armed."""
        opens = clock.utc_now() + timedelta(hours=1)
        await self.admin.create(
            f"{CUSTOM}/namespaces/{self.namespace}/{SALES}",
            {
                "apiVersion": "doorbuster.dev/v1alpha1",
                "kind": "FlashSale",
                "metadata": {"name": NAME},
                "spec": self._spec(opens),
            },
        )
        await self.seen.until(
            SALES,
            "the sale is announced",
            lambda sale: phase_of(sale) == "Scheduled" and is_so("TopicsReady")(sale),
        )
        opens = clock.utc_now() + AHEAD
        await self._edit(openTime=_second(opens), closeTime=_second(opens + timedelta(hours=1)))
        await self.seen.until(SALES, "the gate is armed", reason_is("Armed", "Loaded"))
        # WARM
        sale = self.seen.versions[SALES][-1]
        moments = (sale["status"]["timeline"]["armedTime"], sale["spec"]["openTime"])
        armed, opens = map(datetime.fromisoformat, moments)
        if armed >= opens:
            raise TooSlowError(f"armed at {armed}, after the opening at {opens}")
        self.uid = sale["metadata"]["uid"]
        return sale

    def _spec(self, opens: datetime) -> Json:
        price = {"currency": CURRENCY, "amountMinor": PRICE_MINOR}
        return {
            "openTime": _second(opens),
            "closeTime": _second(opens + timedelta(hours=1)),
            "items": [{"sku": self.sku, "poolName": NAME, "price": price}],
            "reservationTimeoutSeconds": 3600,
            "warmup": {"leadSeconds": 10},
            "scaling": {
                "targets": [
                    {
                        "name": "web",
                        "hpaName": NAME,
                        "warmReplicas": WARM_REPLICAS,
                        "cooldownSeconds": 0,
                    }
                ]
            },
            "messaging": {
                "partitions": 1,
                "retentionSeconds": 7200,
                "reclaimPolicy": "Delete",
            },
            "settlement": {"graceSeconds": 0},
            "ttlSecondsAfterSettled": TTL_SECONDS,
        }

    async def _open(self, sale: Json) -> None:
        """Buyers ask from before the opening on; the first hold is theirs as soon as it is open."""
        opens = datetime.fromisoformat(sale["spec"]["openTime"])

        async def ask() -> bool:
            held, _ = await self.shopper.ask(sale)
            gate = await self.shopper.gate(self.uid)
            if held and (gate is None or gate.server_time < opens):
                self.early += len(held)
            self._first = held
            return bool(held)

        await eventually("a first hold", ask, bool)
        await self.seen.until(SALES, "the sale is open", lambda each: phase_of(each) == "Open")
        await self.shopper.pay(sale, self._first)
        await self.shopper.buy(sale, 1)

    async def _pause(self) -> None:
        await self._edit(desiredState="Suspended")
        await self.seen.until(SALES, "it is suspended", reason_is("Open", "Suspended"))
        await self._edit(desiredState="Active")
        await self.seen.until(SALES, "it is resumed", reason_is("Open", "WindowOpen"))

    async def _sell_out(self, sale: Json) -> None:
        """The last unit goes; the stock cannot be lowered below that, but raised."""
        await self.shopper.buy(sale, 1)
        await self.seen.until(SALES, "it is sold out", lambda each: phase_of(each) == "SoldOut")
        await self.admin.change(self.path(POOLS), {"spec": {"capacity": 1}})
        await self.seen.until(
            POOLS, "less stock is refused", reason_is("CapacityApplied", "BelowCommitted")
        )
        await self.admin.change(self.path(POOLS), {"spec": {"capacity": RAISED}})
        await self.seen.until(
            POOLS, "more stock is applied", reason_is("CapacityApplied", "Applied")
        )
        await self.seen.until(SALES, "it is open again", lambda each: phase_of(each) == "Open")
        await self.shopper.buy(sale, SOLD - UNITS)

    async def _grow(self, sale: Json) -> None:
        await self._edit(messaging={"partitions": 2, "retentionSeconds": 3600})
        await self.seen.until(
            SALES,
            "the topic has grown",
            lambda each: each["status"].get("topic", {}).get("partitions") == 2,
        )

    async def _close(self) -> None:
        """The close time is set into the past; the sale is settled, deletes itself, and leaves a report."""
        await self._edit(closeTime=_second(clock.utc_now() - timedelta(seconds=1)))
        await self.seen.until(SALES, "it is settled", lambda each: phase_of(each) == "Settled")
        await self.seen.until_gone(SALES)
        await self.seen.until(POOLS, "nobody uses the pool", reason_is("Bound", "NoSale"))

    async def _clear(self) -> None:
        await self.admin.delete(self.path(POOLS))
        await self.seen.until_gone(POOLS)
        await eventually(
            "the stock is given up", lambda: self.shopper.stock(self.sku), _is_given_up
        )

    async def _edit(self, **spec: Any) -> None:
        await self.admin.change(self.path(SALES), {"spec": spec})


def phase_of(body: Json) -> str | None:
    """Return the phase that an object tells."""
    phase: str | None = body.get("status", {}).get("phase")
    return phase


def condition_of(body: Json, kind: str) -> Json:
    """Return a condition of the object's present generation, an empty one when there is none."""
    generation = body["metadata"].get("generation")
    for each in body.get("status", {}).get("conditions", []):
        if each["type"] == kind and each.get("observedGeneration") == generation:
            return dict(each)
    return {}


def reason_is(kind: str, reason: str) -> Callable[[Json], bool]:
    """Return whether an object tells this reason of its present generation."""
    return lambda body: condition_of(body, kind).get("reason") == reason


def is_so(kind: str) -> Callable[[Json], bool]:
    """Return whether a condition of the object's present generation is True."""
    return lambda body: condition_of(body, kind).get("status") == "True"


def _is_given_up(stock: Any) -> bool:
    return stock is None or stock.owner_uid is None


def _second(moment: datetime) -> str:
    return datetime.fromtimestamp(math.ceil(moment.timestamp()), moment.tzinfo).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
