"""A sale as the API server returns it, in the middle of its life."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

_BODY: dict[str, Any] = {
    "apiVersion": "doorbuster.dev/v1alpha1",
    "kind": "FlashSale",
    "metadata": {
        "name": "drop",
        "namespace": "shop",
        "uid": "u-1",
        "generation": 2,
        "creationTimestamp": "2030-11-29T09:00:00Z",
    },
    "spec": {
        "desiredState": "Active",
        "openTime": "2030-11-29T12:00:00Z",
        "closeTime": "2030-11-29T12:10:00Z",
        "strategy": "Escrow",
        "reservationTimeoutSeconds": 120,
        "items": [
            {
                "sku": "phone",
                "poolName": "phones",
                "perUserLimit": 1,
                "quantity": 5,
                "price": {"currency": "USD", "amountMinor": 99_900},
            }
        ],
    },
    "status": {
        "observedGeneration": 2,
        "phase": "Open",
        "summary": "Open until 2030-11-29T12:10:00Z.",
        "nextPhase": "Closed",
        "nextTransitionTime": "2030-11-29T12:10:00Z",
        "epoch": 3,
        "clock": {"offsetMillis": -4},
        "timeline": {
            "armedTime": "2030-11-29T11:50:00.100Z",
            "openTime": "2030-11-29T12:00:00Z",
            "firstReservationTime": "2030-11-29T12:00:00.012Z",
            "openLatencyMillis": 12,
        },
        "inventory": {"capacity": 5, "sold": 3, "reserved": 1, "available": 1},
        "scaling": [
            {
                "name": "checkout",
                "hpaName": "checkout",
                "demand": 10,
                "minReplicas": 12,
                "readyReplicas": 9,
            }
        ],
        "topic": {"name": "sale.shop.drop.orders", "partitions": 3},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "AsPlanned", "message": "All is well."},
            {"type": "Armed", "status": "True", "reason": "Loaded", "message": "It opens."},
        ],
    },
}


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """Build the sale; keywords replace fields of spec or, with ``status_``, of status."""

    def build(**changes: Any) -> dict[str, Any]:
        made = copy.deepcopy(_BODY)
        for name, value in changes.items():
            part, field = ("status", name[7:]) if name.startswith("status_") else ("spec", name)
            made[part][field] = value
        return made

    return build
