"""The few things that are asked of ``kubectl``: apply, list, and watch as a person would."""

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

CALL_SECONDS = 30.0
STOP_SECONDS = 5.0


class KubectlError(Exception):
    """kubectl could not do it; the message is what it said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kubectl:
    """Calls kubectl with the environment of a stack (KUBECONFIG, PATH)."""

    environment: Mapping[str, str] = dataclasses.field(repr=False)

    def apply(self, text: str) -> str:
        """Apply manifests; returns what kubectl said."""
        return self._run(["apply", "-f", "-"], text)

    def names(self, kind: str) -> list[str]:
        """Return the names of all objects of a kind in the namespace."""
        said = self._run(["get", kind, "-o", "name"])
        return [line.partition("/")[2] for line in said.splitlines()]

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object of the namespace."""
        found: dict[str, Any] = json.loads(self._run(["get", kind, name, "-o", "json"]))
        return found

    @contextlib.asynccontextmanager
    async def watching(
        self, kind: str, name: str, tell: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Run ``kubectl get KIND NAME -w`` and tell its lines while the block runs."""
        process = await asyncio.create_subprocess_exec(
            self._program(),
            "get",
            kind,
            name,
            "-w",
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        reader = asyncio.create_task(_tell_lines(process, tell))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
            await asyncio.wait_for(reader, STOP_SECONDS)

    def _run(self, arguments: list[str], text: str = "") -> str:
        try:
            done = subprocess.run(
                [self._program(), *arguments],
                env=self._environment(),
                input=text,
                capture_output=True,
                text=True,
                timeout=CALL_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubectlError(f"kubectl: {error}") from error
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip() or f"kubectl ended with {done.returncode}")
        return done.stdout

    def _program(self) -> str:
        found = shutil.which("kubectl", path=self._environment().get("PATH"))
        if found is None:
            raise KubectlError("kubectl is missing (see `devstack env`)")
        return found

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


async def _tell_lines(process: asyncio.subprocess.Process, tell: Callable[[str], None]) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        tell(line.decode(errors="replace").rstrip())
