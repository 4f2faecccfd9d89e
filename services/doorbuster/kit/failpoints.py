"""Named points at which a process can be made to die, or to lose a reply, so that tests walk the crash table.

``DOORBUSTER_FAILPOINTS=name[:n][,name[:n]…]``: at the n-th passing of ``name`` (the first by default) the process
ends at once with status 86, as by kill -9: nothing is flushed, nothing is rolled back by us. A name that ends in
``.reply_lost`` does not end the process: what was done stays done, and the caller never hears of it; from the n-th
passing on once. A name that ends in ``.stopped`` stops the process there, as SIGSTOP does, until somebody sends
SIGCONT. Unset, as in production, a passing costs one look at an empty dictionary.
"""

import os
import re
import signal
import sys

EXIT_STATUS = 86
VARIABLE = "DOORBUSTER_FAILPOINTS"
REPLY_LOST = ".reply_lost"
STOPPED = ".stopped"
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+(:[1-9][0-9]*)?")


class FailpointError(ValueError):
    """The variable names no failpoints."""


class ReplyLostError(ConnectionError):
    """The call was carried out; its reply is thrown away here."""


_left: dict[str, int] = {}


def arm(text: str) -> None:
    """Arm what ``text`` names (see the module), instead of what was armed before; raises FailpointError."""
    _left.clear()
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not _NAME.fullmatch(part):
            raise FailpointError(f"{VARIABLE}: {part!r} is not name[:n]")
        name, _, count = part.partition(":")
        _left[name] = int(count or 1)


def armed() -> tuple[str, ...]:
    """Return the names that are armed still."""
    return tuple(sorted(_left))


def reach(name: str) -> None:
    """Pass the point; the process ends, or stops, here when its time has come."""
    if not _left:
        return
    if _is_due(name + STOPPED):
        _tell(name + STOPPED)
        os.kill(os.getpid(), signal.SIGSTOP)
    if _is_due(name):
        _tell(name)
        os._exit(EXIT_STATUS)


def _tell(name: str) -> None:
    sys.stderr.write(f'{{"level": "warning", "event": "failpoint", "name": "{name}"}}\n')
    sys.stderr.flush()


def lose_reply(name: str) -> None:
    """Pass the point ``name`` + ``.reply_lost``; raises ReplyLostError when its time has come."""
    if _left and _is_due(name + REPLY_LOST):
        raise ReplyLostError(f"failpoint {name}{REPLY_LOST}")


def _is_due(name: str) -> bool:
    left = _left.get(name)
    if left is None:
        return False
    if left > 1:
        _left[name] = left - 1
        return False
    del _left[name]
    return True
