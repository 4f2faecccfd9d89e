"""A sale followed until Ctrl-C: a tree that is drawn anew on a terminal, else one line a change."""

from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.tree import Tree

from doorbuster.kit.clock import utc_now

from . import changes, model, story
from .cluster import Cluster
from .times import stamp

FRAMES_PER_SECOND = 2
FOR_EVER = float("inf")


class _Scene:
    """The last known state, drawn with the time of each frame."""

    def __init__(self) -> None:
        self.sale: model.FlashSale | None = None
        self.pools: dict[str, model.Pool | str] = {}

    def draw(self) -> Tree | str:
        if self.sale is None:
            return ""
        return story.drawn(story.tell(self.sale, self.pools, utc_now()))


def draw(cluster: Cluster, name: str, console: Console) -> None:
    """Keep the tree of a sale on the terminal. Raises ClusterError, also when the sale is deleted."""
    scene = _Scene()
    with Live(
        console=console, get_renderable=scene.draw, refresh_per_second=FRAMES_PER_SECOND
    ) as live:
        for body in cluster.follow(name, lambda: FOR_EVER):
            if body is not None:
                scene.sale = model.sale(body)
            if scene.sale is not None:
                scene.pools = cluster.pools(scene.sale)
            live.refresh()


def print_changes(cluster: Cluster, name: str) -> None:
    """Print how a sale is and then every change. Raises ClusterError, also when the sale is deleted."""
    before: model.FlashSale | None = None
    for body in cluster.follow(name, lambda: FOR_EVER):
        if body is None:
            continue
        after = model.sale(body)
        lines = changes.between(before, after) if before else [changes.first(after)]
        for line in lines:
            print(f"{_second(utc_now())}  {line}", flush=True)
        before = after


def _second(moment: datetime) -> str:
    return stamp(moment.replace(microsecond=0))
