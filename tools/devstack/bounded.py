"""Running a long command of an installation: its lines kept, its children ended when time is up."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

REPORT_SECONDS = 0.5


def run(
    argv: tuple[str, ...],
    folder: Path,
    within_seconds: float,
    report: Callable[[int], None] = lambda lines: None,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, list[str]]:
    """(exit status, output lines) of a command; ``report`` is told how many lines there are so far."""
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(child.stdout,), daemon=True)
        reader.start()
        deadline = time.monotonic() + within_seconds
        try:
            while child.poll() is None and time.monotonic() < deadline:
                report(len(lines))
                time.sleep(REPORT_SECONDS)
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
            reader.join(timeout=5.0)
    return status, [line.rstrip("\n") for line in lines]
