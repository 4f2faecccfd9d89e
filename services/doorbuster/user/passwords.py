"""Password hashes: argon2id on two threads with a bounded queue, because each costs some 30 ms of a core."""

import asyncio
import ctypes
import secrets
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from prometheus_client import Counter, Gauge

from .domain import BusyError

THREADS = 2
MAX_PENDING = 64  # about a second of work: whoever comes later is told to come again
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
_MMAP_THRESHOLD_OPTION = -3  # M_MMAP_THRESHOLD of glibc's mallopt
_MMAP_THRESHOLD_BYTES = 4 * 1024 * 1024
PENDING = Gauge("doorbuster_user_passwords_pending", "Password hashes under way or waiting")
SHED = Counter(
    "doorbuster_user_passwords_shed", "Password hashes refused because the queue is full"
)

Result = TypeVar("Result")


class Argon2Passwords:
    """Hashes and compares passwords; use :func:`open_passwords`."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))
        self._pending = 0

    async def hash(self, password: str) -> str:
        """Return the hash to store; raises BusyError."""
        text = _composed(password)
        return await self._run(lambda: self._hasher.hash(text))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Compare in the same time whether or not there is a hash; raises BusyError."""
        text = _composed(password)
        stored = self._nobody if password_hash is None else password_hash

        def compare() -> bool:
            try:
                self._hasher.verify(stored, text)
            except VerifyMismatchError:
                return False
            return True

        return await self._run(compare) and password_hash is not None

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._pending >= MAX_PENDING:
            SHED.inc()
            raise BusyError("too many people sign in at once")
        self._pending += 1
        PENDING.set(self._pending)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pending -= 1
            PENDING.set(self._pending)


def _composed(password: str) -> str:
    """Return the password as any keyboard would send it: two ways to type é are one password."""
    return unicodedata.normalize("NFC", password)


def _give_memory_back() -> None:
    """Make a hash's 19 MiB go back to the system after use.

    Left alone, glibc raises its threshold after the first such block and keeps the next ones in each thread's
    arena: measured, 40 MB for good. Another C library has no such option and no such habit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD_OPTION, _MMAP_THRESHOLD_BYTES)


@asynccontextmanager
async def open_passwords() -> AsyncIterator[Argon2Passwords]:
    """Open the pool of hashing threads."""
    _give_memory_back()
    executor = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="argon2")
    try:
        yield Argon2Passwords(executor)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
