"""What a stack remembers between commands: ports, chosen parts, its secret, and who is at work."""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import StackError

VERSION = 1


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file in one step; a reader sees the old or the new text, never half of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        scratch.chmod(mode)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


class State:
    """``state.json`` of one stack. Changes are written at once; reading never changes anything."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._values: dict[str, Any] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file again; an absent file is an empty state.

        Raises:
            StackError: the file is not ours to understand.
        """
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            values = {"version": VERSION, "stackId": "", "bind": "", "ports": {}, "parts": []}
        except ValueError as error:
            raise StackError(f"{self._path} cannot be read: {error}") from error
        if values.get("version") != VERSION:
            raise StackError(f"{self._path} is of another version; remove its folder")
        self._values = values

    @property
    def stack_id(self) -> str:
        return str(self._values["stackId"])

    @property
    def bind(self) -> str:
        return str(self._values["bind"]) or "127.0.0.1"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that were brought up, sorted."""
        return tuple(self._values["parts"])

    @property
    def ports(self) -> dict[str, int]:
        return dict(self._values["ports"])

    def update(self, **changes: Any) -> None:
        """Change some keys (``ports``, ``parts``, ``bind``, ``stackId``) and save."""
        with self._guard:
            self._values = {**self._values, **changes}
            write_atomically(self._path, json.dumps(self._values, indent=2, sort_keys=True) + "\n")


class Secrets:
    """Every password of a stack, derived from one random secret kept in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ensure(self) -> None:
        """Make the secret at the first ``up``."""
        if not self._path.exists():
            write_atomically(self._path, secrets.token_hex(32) + "\n", mode=0o600)

    def named(self, name: str) -> str:
        """The secret called ``name``: 32 hexadecimal characters, the same every time."""
        try:
            root = self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise StackError("this stack was never up", hint="run `devstack up`") from error
        return hmac.new(bytes.fromhex(root), name.encode(), hashlib.sha256).hexdigest()[:32]


@contextmanager
def exclusive(path: Path, *, within_seconds: float) -> Iterator[None]:
    """Hold the stack's lock; it goes with the process, however the process ends.

    Raises:
        StackError: another command holds it longer than ``within_seconds``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _locked(path, time.monotonic() + within_seconds)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still ours
        os.close(handle)


def _locked(path: Path, deadline: float) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, handle):
                return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(handle)
                raise StackError(
                    f"another devstack command is at work here (pid {holder})",
                    hint="wait for it, or end that process",
                ) from None
        os.close(handle)
        time.sleep(0.05)


def _is_still(path: Path, handle: int) -> bool:
    """Whether the file that we locked is the one at the path (its last holder removes it)."""
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False
