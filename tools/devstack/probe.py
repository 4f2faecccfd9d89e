"""Small questions to servers over their own wire, each with a deadline: is anybody serving?"""

import contextlib
import http.client
import socket
import ssl
import struct
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 2.0
_KAFKA_API_VERSIONS = 18


def http_status(url: str, *, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """(status, first 300 characters of the body); status 0 with the reason when unreachable."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", parts.path or "/")
            response = connection.getresponse()
            return response.status, response.read(300).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error) or type(error).__name__


def redis_answers(port: int, password: str) -> str | None:
    """None when Redis takes the password and answers PING."""
    try:
        with _connected(port) as wire:
            wire.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = _receive(wire, 12)
    except OSError as error:
        return str(error)
    return None if answer.startswith(b"+OK\r\n+PONG") else answer.decode(errors="replace").strip()


def kafka_answers(port: int) -> str | None:
    """None when a broker answers ApiVersions (it does so once it is unfenced)."""
    request = struct.pack(">hhih", _KAFKA_API_VERSIONS, 0, 1, -1)
    try:
        with _connected(port) as wire:
            wire.sendall(struct.pack(">i", len(request)) + request)
            answer = _receive(wire, 10)
    except OSError as error:
        return str(error)
    if len(answer) < 10:
        return "no answer to ApiVersions"
    _, correlation, code = struct.unpack(">iih", answer)
    return None if (correlation, code) == (1, 0) else f"ApiVersions answers error {code}"


def greets(port: int, expected: bytes, *, at: int = 0) -> str | None:
    """None when a server that speaks first (SMTP, MySQL) sends ``expected`` at byte ``at``."""
    try:
        with _connected(port) as wire:
            answer = _receive(wire, at + len(expected))
    except OSError as error:
        return str(error)
    return None if answer[at:] == expected else "another greeting than expected"


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)


def _receive(wire: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = wire.recv(count - len(received))
        if not chunk:
            break
        received += chunk
    return received
