"""The operator's process of one run: started, killed, started again, and brought back when it ends by itself."""

import asyncio
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

DEATH_SECONDS = 10.0
FORK_SECONDS = 60.0
# A supervisor's pause before it starts again what ended by itself.
AGAIN_SECONDS = 0.5


class Zygote:
    """Asks the zygote for processes; use :func:`zygote`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._lock = asyncio.Lock()

    async def fork(self, environment: Mapping[str, str], log: pathlib.Path) -> int:
        """Return the pid of a new operator; raises RuntimeError when the zygote is gone."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        order = json.dumps({"environment": dict(environment), "log": str(log)})
        async with self._lock, asyncio.timeout(FORK_SECONDS):
            self._child.stdin.write(f"{order}\n".encode())
            answer = await self._child.stdout.readline()
        if not answer:
            raise RuntimeError("the zygote has ended")
        return int(answer)


@asynccontextmanager
async def zygote(environment: Mapping[str, str]) -> AsyncIterator[Zygote]:
    """Run a zygote while the context is open; it takes its children with it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crash.zygote"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        yield Zygote(child)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(DEATH_SECONDS):
                await child.wait()
        if child.returncode is None:
            child.kill()
            await child.wait()


class OperatorProcess:
    """One identity of an operator; ``ended_by_itself`` counts the lives that nobody took."""

    def __init__(self, forge: Zygote, environment: Mapping[str, str], log: pathlib.Path) -> None:
        self._zygote = forge
        self.environment = environment
        self._log = log
        self._handle: int | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.lives = 0
        self.ended_by_itself = 0

    async def rise(self) -> None:
        """Start it, and keep it running."""
        pid = await self._zygote.fork(self.environment, self._log)
        self._handle = os.pidfd_open(pid)
        self.lives += 1
        self._keeping = asyncio.create_task(self._keep(self._handle), name=f"keep {pid}")

    async def die(self) -> None:
        """Kill it and wait until it is gone."""
        handle, self._handle = self._handle, None
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if handle is None:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        async with asyncio.timeout(DEATH_SECONDS):
            await _gone(handle)
        os.close(handle)

    async def _keep(self, handle: int) -> None:
        await _gone(handle)
        self._handle = None
        os.close(handle)
        self.ended_by_itself += 1
        await asyncio.sleep(AGAIN_SECONDS)
        await self.rise()


async def _gone(handle: int) -> None:
    """Wait until the process of a pidfd has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
