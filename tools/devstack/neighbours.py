"""The other stacks of this user: their ports are theirs even while they are down."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .layout import cache_root
from .state import exclusive, write_atomically

WAIT_SECONDS = 30.0


@contextmanager
def reserving(root: Path) -> Iterator[frozenset[int]]:
    """Give the ports that other stacks remember, and keep every other stack from choosing.

    The list of roots lies in the cache; roots that no longer have a state are dropped from it.
    """
    listing = cache_root() / "stacks.json"
    listing.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(listing.with_name("stacks.lock"), within_seconds=WAIT_SECONDS):
        roots = {other for other in _read(listing) if other != str(root)}
        remembered = {other: _ports(Path(other) / "state.json") for other in roots}
        alive = sorted(other for other, ports in remembered.items() if ports)
        write_atomically(listing, json.dumps([*alive, str(root)]) + "\n")
        yield frozenset(port for ports in remembered.values() for port in ports)


def _read(listing: Path) -> list[str]:
    try:
        found = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(root) for root in found] if isinstance(found, list) else []


def _ports(state: Path) -> frozenset[int]:
    try:
        return frozenset(int(port) for port in json.loads(state.read_text())["ports"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()
