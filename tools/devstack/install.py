"""Getting what is missing onto this machine: Debian packages first, then downloads and builds."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StackError
from .part import Part, Say

APT_SECONDS = 1200
# Debian asks this program before it starts a freshly installed server; 101 means "do not".
POLICY = Path("/usr/sbin/policy-rc.d")


def install(parts: Iterable[Part], say: Say) -> None:
    """Obtain everything that the parts need; does nothing on a machine that has it all.

    Raises:
        StackError: a step failed, with what it printed.
    """
    chosen = tuple(parts)
    packages = list(dict.fromkeys(name for part in chosen for name in part.packages()))
    if packages:
        _install_packages(packages, say)
    for part in chosen:
        if part.missing():
            part.obtain(say)
        lacking = part.missing() or ", ".join(part.packages())
        if lacking:
            raise StackError(f"{part.name} still lacks {lacking} after the installation")


def _install_packages(packages: list[str], say: Say) -> None:
    if shutil.which("apt-get") is None:
        raise StackError(
            f"these packages are missing: {', '.join(packages)}",
            hint="this is no Debian or Ubuntu: install their equivalents by hand",
        )
    say("asking Debian for its packages")
    _apt("update", "-qq")
    names = [_available(alternatives) for alternatives in packages]
    say(f"installing Debian packages: {' '.join(names)}")
    with _nothing_starts_by_itself():
        _apt("install", "-y", "-qq", "--no-install-recommends", *names)


def _available(alternatives: str) -> str:
    """The first of "a|b" that the package index knows."""
    names = alternatives.split("|")
    for name in names:
        shown = subprocess.run(
            ("apt-cache", "show", "--no-all-versions", name),
            capture_output=True,
            timeout=60,
            check=False,
        )
        if shown.returncode == 0 and shown.stdout:
            return name
    raise StackError(f"no Debian package is called {' or '.join(names)}")


def _apt(*arguments: str) -> None:
    _as_root(
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments, within_seconds=APT_SECONDS
    )


@contextmanager
def _nothing_starts_by_itself() -> Iterator[None]:
    if POLICY.exists():
        yield
        return
    _as_root("sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}")
    try:
        yield
    finally:
        _as_root("rm", "-f", str(POLICY))


def _as_root(*argv: str, within_seconds: float = 60) -> None:
    """Run a command as root, through sudo where this is not root."""
    prefix: tuple[str, ...] = ()
    if os.getuid() != 0:
        if shutil.which("sudo") is None:
            raise StackError("root or sudo is needed to install packages", hint=" ".join(argv))
        prefix = ("sudo",)
    try:
        # Standard input stays: sudo may ask for a password on a terminal.
        done = subprocess.run(
            (*prefix, *argv), capture_output=True, text=True, timeout=within_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{' '.join(argv)} took longer than {within_seconds:.0f} s") from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise StackError(f"{' '.join(argv)} failed", log_tail="\n".join(lines))
