"""A service as a real process with its own keys and ports, for tests that kill, starve and question it."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorbuster.kit import auth

READY_SECONDS = 90.0  # a second on a calm machine
STOP_SECONDS = 20.0


class Keys:
    """Key pairs of services in a folder, and the key that signs users' tokens."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.private = folder / "private"
        self.public = folder / "public"
        for place in (self.private, self.public):
            place.mkdir(parents=True, exist_ok=True)
        for name in names:
            key = Ed25519PrivateKey.generate()
            (self.private / name).write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            (self.public / f"{name}.pub").write_bytes(
                key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            )
        self._user_key = Ed25519PrivateKey.generate()

    def env(self, name: str) -> dict[str, str]:
        """Return where a service finds its own key and everybody's public keys."""
        return {
            "DOORBUSTER_SERVICE_KEY_FILE": str(self.private / name),
            "DOORBUSTER_SERVICE_KEYS_DIR": str(self.public),
        }

    def jwks(self) -> bytes:
        """Return what the user service would publish."""
        return auth.jwks_document({"test": self._user_key.public_key()})

    def as_user(self, user_id: str, role: str = "buyer") -> dict[str, str]:
        """Return the headers of a signed-in user."""
        now = int(time.time())
        payload = {
            "iss": auth.ISSUER,
            "aud": auth.USER_AUDIENCE,
            "sub": user_id,
            "role": role,
            "sid": "session",
            "iat": now,
            "exp": now + auth.USER_TOKEN_SECONDS,
        }
        token = jwt.encode(payload, self._user_key, algorithm="EdDSA", headers={"kid": "test"})
        return {"Authorization": f"Bearer {token}"}

    def as_service(self, name: str, callee: str) -> dict[str, str]:
        """Return the headers of a calling service."""
        token = auth.ServiceSigner(name, self.private / name).token(callee)
        return {"Authorization": f"Bearer {token}"}


@dataclass
class Running:
    """A running service; ``url`` is its API, ``admin_url`` its probes and metrics."""

    name: str
    url: str
    admin_url: str
    pid: int
    log: Path
    process: asyncio.subprocess.Process

    async def is_ready(self, session: aiohttp.ClientSession) -> bool:
        """Tell whether it says that it is ready."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{self.admin_url}/readyz") as answer:
                return answer.status == 200
        return False

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        await asyncio.wait_for(self.process.wait(), STOP_SECONDS)


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    name: str, env: Mapping[str, str], log: Path, *, port: int | None = None
) -> AsyncIterator[Running]:
    """Run ``doorbuster NAME`` until the context ends; raises RuntimeError with its last words if it dies first."""
    port, admin_port = port or free_port(), free_port()
    whole = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DOORBUSTER_")},
        **env,
        "DOORBUSTER_PORT": str(port),
        "DOORBUSTER_ADMIN_PORT": str(admin_port),
    }
    with log.open("ab") as out:
        process = await _start(name, whole, out)
        service = Running(
            name=name,
            url=f"http://127.0.0.1:{port}",
            admin_url=f"http://127.0.0.1:{admin_port}",
            pid=process.pid,
            log=log,
            process=process,
        )
        try:
            await _until_ready(service)
            yield service
        finally:
            if process.returncode is None:
                process.terminate()
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_SECONDS)
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _start(name: str, env: Mapping[str, str], out: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doorbuster", name), env=env, stdout=out, stderr=out
    )


async def _until_ready(service: Running) -> None:
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while time.monotonic() < deadline:
            if service.process.returncode is not None:
                break
            if await service.is_ready(session):
                return
            await asyncio.sleep(0.05)
    last_words = service.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{service.name} did not get ready: {last_words}")
