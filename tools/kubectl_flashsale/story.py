"""A sale told as a tree: once with lines drawn for a terminal, once as plain lines (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.text import Text
from rich.tree import Tree

from doorbuster.kit import money

from .model import Condition, Counters, FlashSale, Item, Pool, Target
from .times import relative, span, stamp

PHASE_STYLES = {"Open": "bold green", "SoldOut": "bold green", "Cancelled": "bold red"}
CONDITION_STYLES = {"True": "green", "False": "dim", "Unknown": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One line of the tree and what lies below it."""

    text: str
    style: str = ""
    children: Sequence["Node"] = ()


def tell(sale: FlashSale, pools: Mapping[str, Pool | str], now: datetime) -> Node:
    """Return the whole story; a pool that cannot be read is the sentence why."""
    phase = sale.status.phase or "not seen by the operator yet"
    branches = (
        _next(sale, now),
        _sale(sale, now),
        Node(text="Items", children=[_item(item, pools) for item in sale.spec.items]),
        _stock(sale.status.inventory),
        _targets(sale.status.scaling),
        _topic(sale),
        _conditions(sale.status.conditions),
        _timeline(sale),
    )
    return Node(
        text=f"FlashSale {sale.metadata.namespace}/{sale.metadata.name}: {phase}",
        style=PHASE_STYLES.get(phase, "bold"),
        children=[branch for branch in branches if branch is not None],
    )


def plain(node: Node, depth: int = 0) -> Iterator[str]:
    """Yield the tree as lines, two spaces a level."""
    yield "  " * depth + node.text
    for child in node.children:
        yield from plain(child, depth + 1)


def drawn(node: Node) -> Tree:
    """Return the tree for a terminal."""
    tree = Tree(Text(node.text, style=node.style), guide_style="dim")
    _grow(tree, node.children)
    return tree


def _grow(tree: Tree, nodes: Sequence[Node]) -> None:
    for node in nodes:
        _grow(tree.add(Text(node.text, style=node.style)), node.children)


def units(counted: Counters) -> str:
    """Return counters as people read them."""
    return (
        f"{counted.capacity} units: {counted.sold} sold, "
        f"{counted.reserved} reserved, {counted.available} available"
    )


def _sale(sale: FlashSale, now: datetime) -> Node:
    spec, made = sale.spec, sale.metadata.creation_timestamp
    rows = [
        ("wanted", spec.desired_state),
        ("opens", f"{stamp(spec.open_time)} ({relative(spec.open_time, now)})"),
        ("closes", f"{stamp(spec.close_time)} ({relative(spec.close_time, now)})"),
        ("strategy", spec.strategy),
        ("holds", f"last {span(timedelta(seconds=spec.reservation_timeout_seconds))}"),
    ]
    if spec.admission.mode != "Direct":
        rows.append(
            ("admission", f"{spec.admission.mode}, {spec.admission.rate_per_second} a second")
        )
    if made is not None:
        rows.append(("age", span(now - made)))
    if sale.metadata.deletion_timestamp is not None:
        rows.append(("deleted", f"asked {relative(sale.metadata.deletion_timestamp, now)}"))
    parts = [Node(text=f"{name:<10}{value}") for name, value in rows]
    if sale.status.summary:
        parts.insert(0, Node(text=sale.status.summary, style="bold"))
    return Node(text="Sale", children=parts)


def _item(item: Item, pools: Mapping[str, Pool | str]) -> Node:
    price = money.from_minor(item.price.amount_minor, item.price.currency)
    share = "the whole pool" if item.quantity is None else f"{item.quantity} units"
    text = (
        f"{item.sku}: {price} {item.price.currency}, {item.per_user_limit} per buyer, "
        f"{share} of InventoryPool {item.pool_name}"
    )
    return Node(text=text, children=[_pool(pools.get(item.pool_name, "was not read"))])


def _pool(pool: Pool | str) -> Node:
    if isinstance(pool, str):
        return Node(text=f"the pool {pool}", style="yellow")
    if pool.status is None:
        return Node(text="the operator has not looked at the pool yet", style="yellow")
    ready = next((each for each in pool.status.conditions if each.type == "Ready"), None)
    text = f"the pool has {units(pool.status)}"
    if ready is None or ready.status == "True":
        return Node(text=text)
    return Node(text=f"{text}; {ready.reason}: {ready.message}", style="yellow")


def _stock(counted: Counters | None) -> Node | None:
    return None if counted is None else Node(text=f"Stock of the sale: {units(counted)}")


def _targets(targets: Sequence[Target]) -> Node | None:
    if not targets:
        return None
    parts = []
    for target in targets:
        known = {
            "wanted": target.demand,
            "minReplicas": target.min_replicas,
            "ready": target.ready_replicas,
        }
        figures = [f"{name} {value}" for name, value in known.items() if value is not None]
        parts.append(Node(text=f"{target.name} ({target.hpa_name}): {', '.join(figures) or '-'}"))
    return Node(text="Targets", children=parts)


def _topic(sale: FlashSale) -> Node | None:
    topic = sale.status.topic
    if topic is None:
        return None
    return Node(text=f"Topic {topic.name}, partitions: {topic.partitions}")


def _conditions(conditions: Sequence[Condition]) -> Node | None:
    if not conditions:
        return None
    width = max(len(each.type) for each in conditions) + 2
    parts = [
        Node(
            text=f"{each.type:<{width}}{each.status:<9}{each.reason}: {each.message}",
            style=_condition_style(each),
        )
        for each in conditions
    ]
    return Node(text="Conditions", children=parts)


def _condition_style(condition: Condition) -> str:
    """Return its colour: only Ready alarms when it is False, others may well be."""
    if condition.type == "Ready" and condition.status == "False":
        return "red"
    return CONDITION_STYLES.get(condition.status, "")


def _timeline(sale: FlashSale) -> Node | None:
    line = sale.status.timeline
    late = (
        ""
        if line.open_latency_millis is None
        else f", {line.open_latency_millis} ms after openTime"
    )
    known = (
        (line.warmup_start_time, "the warm-up began"),
        (line.armed_time, "the gate was armed"),
        (line.open_time, "the sale opened"),
        (line.first_reservation_time, f"the first buyer got a hold{late}"),
        (line.sold_out_time, "the last unit was sold"),
        (line.close_time, "the sale closed"),
        (line.settle_time, "the books were closed"),
    )
    happened = sorted((when, what) for when, what in known if when is not None)
    parts = [Node(text=f"{stamp(when):<26}{what}") for when, what in happened]
    return Node(text="Timeline", children=parts) if parts else None


def _next(sale: FlashSale, now: datetime) -> Node | None:
    status = sale.status
    if not status.next_phase or status.next_transition_time is None:
        return None
    when = status.next_transition_time
    due = f"in {span(when - now)}" if when > now else "due now"
    return Node(text=f"Next: {status.next_phase} at {stamp(when)}, {due}", style="bold")
