"""Placing a plan's sale: stock and gate by inventory's control API, or manifests by kubectl and the operator."""

import asyncio
import dataclasses
import secrets
import time

import yaml

from buyers import gates, kubectl, manifest
from devstack.stack import Stack
from doorbuster.contracts import events

from .plan import Plan

OPENS_IN_SECONDS = 4.0  # the page appears, the clock is read, every buyer opens his connection
OPERATOR_OPENS_IN_SECONDS = 7.0
STATUS_SECONDS = 20.0
STATUS_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed:
    """A sale that will open at ``opens_at`` (Unix seconds); ``path`` is its name in the public API."""

    path: str
    opens_at: float
    topic: str


async def place(stack: Stack, plan: Plan) -> Placed:
    """Place the sale under a name of its own; raises GateError, KubectlError."""
    if plan.channel == "operator":
        sale = await _apply(stack, plan)
    else:
        sale = await _put(stack, plan)
    topic = events.sale_topic(manifest.NAMESPACE, sale.name)
    return Placed(path=sale.path, opens_at=sale.opens_at, topic=topic)


async def operator_says(stack: Stack, placed: Placed, *, units: int, sold: int) -> str | None:
    """Wait until the operator's status tells the truth about the stock; else say what it tells. Raises KubectlError."""
    name = placed.path.partition(".")[2]
    truth = {"capacity": units, "available": units - sold, "reserved": 0, "sold": sold}
    client = kubectl.Kubectl(environment=stack.env())
    deadline = time.monotonic() + STATUS_SECONDS
    while True:
        status = (await asyncio.to_thread(client.read, "fsale", name)).get("status", {})
        told = status.get("inventory")
        is_right = status.get("phase") == "SoldOut" or sold < units
        if told == truth and is_right:
            return None
        if time.monotonic() > deadline:
            return f"the operator tells of phase {status.get('phase')} and {told}, true is {truth}"
        await asyncio.sleep(STATUS_POLL_SECONDS)


async def _apply(stack: Stack, plan: Plan) -> manifest.Sale:
    sale = manifest.render(
        opens_in=OPERATOR_OPENS_IN_SECONDS,
        units=plan.units,
        suffix=f"-{_suffix(plan)}",
        hold_seconds=plan.hold_seconds,
    )
    text = _with_plan(sale.text, plan)
    await asyncio.to_thread(kubectl.Kubectl(environment=stack.env()).apply, text)
    return sale


def _with_plan(text: str, plan: Plan) -> str:
    """The sample with the plan's strategy and limit."""
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        if document["kind"] == "FlashSale":
            document["spec"]["strategy"] = plan.strategy
            for item in document["spec"]["items"]:
                item["perUserLimit"] = plan.per_user_limit
    return yaml.safe_dump_all(documents, sort_keys=False)


async def _put(stack: Stack, plan: Plan) -> manifest.Sale:
    key = stack.layout.keys / "operator.pem"
    wish = gates.Wish(
        name=f"chaos-{_suffix(plan)}",
        units=plan.units,
        opens_in=OPENS_IN_SECONDS,
        hold_seconds=plan.hold_seconds,
        strategy=plan.strategy,
        per_user_limit=plan.per_user_limit,
    )
    async with gates.gate_keeper(stack.env(), key) as keeper:
        return await keeper.open_sale(wish)


def _suffix(plan: Plan) -> str:
    return f"{plan.seed}-{secrets.token_hex(2)}"
