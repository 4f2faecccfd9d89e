"""Fixtures of the operator's tests on a real API server."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from doorbuster.kit.clock import utc_now
from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import GROUP, VERSION, Kube


@pytest.fixture
async def api(servers: Any) -> AsyncIterator[Kube]:
    """The API server with the CRDs and policies of this project."""
    environment = servers("apiserver")
    async with cluster.connect(environment["KUBECONFIG"]) as client:
        yield Kube(client)


@pytest.fixture
def name() -> Iterator[str]:
    """A name that nobody else uses; also a sku."""
    return f"t-{secrets.token_hex(4)}"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def sale_of() -> Callable[..., dict[str, Any]]:
    """Build a valid FlashSale over the pool of the same name; keywords go into the spec."""

    def build(
        name: str, *, opens_in: float = 3600, lasts: float = 600, **spec: Any
    ) -> dict[str, Any]:
        opens = utc_now() + timedelta(seconds=opens_in)
        fields: dict[str, Any] = {
            "openTime": _stamp(opens),
            "closeTime": _stamp(opens + timedelta(seconds=lasts)),
            "items": [
                {
                    "sku": name,
                    "poolName": name,
                    "price": {"currency": "USD", "amountMinor": 99_900},
                }
            ],
            "settlement": {"graceSeconds": 0},
        }
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "FlashSale",
            "metadata": {"name": name},
            "spec": fields | spec,
        }

    return build


@pytest.fixture
def pool_of() -> Callable[..., dict[str, Any]]:
    """Build a valid InventoryPool whose sku is its name; keywords go into the spec."""

    def build(name: str, capacity: int = 5, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "InventoryPool",
            "metadata": {"name": name},
            "spec": {"sku": name, "capacity": capacity} | spec,
        }

    return build
