"""Choosing TCP ports: free ones below the kernel's ephemeral range, remembered by the stack.

A port from the ephemeral range would work until its server is killed: the clients' reconnects take
that very number as their own source port (on loopback even connecting to themselves) and the
server cannot bind again. So ports are drawn at random below that range (decision record 0010).
"""

import random
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from .errors import StackError

LOWEST = 12000
FALLBACK_CEILING = 32768
ATTEMPTS = 2000
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ephemeral_floor() -> int:
    """The lowest port that the kernel gives to outgoing connections."""
    try:
        return int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return FALLBACK_CEILING


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server could listen on ``address:port`` now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def choose(
    keys: Iterable[str],
    *,
    known: Mapping[str, int],
    preferred: Mapping[str, int],
    reserved: Collection[int] = (),
    free: Callable[[int], bool] = is_free,
    floor: int | None = None,
    draw: Callable[[int, int], int] = random.randint,
) -> dict[str, int]:
    """A port for each key: the known one, else the preferred one if free, else a random free one.

    ``reserved`` are never drawn; a preferred port may be shared by stacks that run in turn.

    Raises:
        StackError: no free port was found in a bounded number of draws.
    """
    ceiling = (floor if floor is not None else ephemeral_floor()) - 1
    low, high = (LOWEST, ceiling) if ceiling > LOWEST + 1000 else (20000, 60000)
    chosen = dict(known)
    taken = set(chosen.values())
    for key in keys:
        if key in chosen:
            continue
        wanted = preferred.get(key, 0)
        if wanted and wanted not in taken and free(wanted):
            port = wanted
        else:
            port = _draw_one(low, high, taken.union(reserved), free, draw)
        chosen[key] = port
        taken.add(port)
    return chosen


def _draw_one(
    low: int,
    high: int,
    taken: set[int],
    free: Callable[[int], bool],
    draw: Callable[[int, int], int],
) -> int:
    for _ in range(ATTEMPTS):
        port = draw(low, high)
        if port not in taken and free(port):
            return port
    raise StackError(f"no free port between {low} and {high}")
