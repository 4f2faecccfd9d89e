"""``python -m crash.zygote``: has the operator imported and becomes one, by fork, for each line on standard input.

Importing takes seconds of a processor and is no part of what is tested: a process that is killed a hundred times shall
be back at once. A line is a JSON object {environment, log}; the answer is the pid. It ends its children when its
standard input ends.
"""

import json
import os
import pathlib
import signal
import sys
from typing import Any, NoReturn

from doorbuster_operator import __main__ as operator


def main() -> None:
    """Fork until there is nobody any more who asks."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    children: list[int] = []
    for line in sys.stdin.buffer:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
        children.append(os.pidfd_open(pid))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for child in children:
        try:
            signal.pidfd_send_signal(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _become(order: dict[str, Any]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(pathlib.Path(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    try:
        operator.main()
    except SystemExit:
        pass
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
