"""A small SMTP server that stores what it receives: one JSON line a mail in ``mails.jsonl``.

Each line is {"time", "from", "to": […], "subject", "body"}; the file is moved to
``mails.jsonl.1`` when it has grown to its limit, so the sink never holds more than twice that.
"""

import argparse
import asyncio
import email
import email.policy
import json
import signal
import time
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

MAIL_BYTES = 262_144
FILE_BYTES = 32 * 1024 * 1024


class Sink:
    """aiosmtpd's handler: writes the mail before it answers 250."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "mails.jsonl"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        message = email.message_from_bytes(raw, policy=email.policy.default)
        text = message.get_body(preferencelist=("plain", "html"))
        line = {
            "time": time.time(),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": str(message.get("Subject", "")),
            "body": text.get_content().replace("\r\n", "\n") if text is not None else "",
        }
        self._append(json.dumps(line, ensure_ascii=False) + "\n")
        return "250 OK: kept"

    def _append(self, line: str) -> None:
        if self._path.exists() and self._path.stat().st_size > FILE_BYTES:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


async def serve(port: int, folder: Path) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    sink = Sink(folder)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def session() -> SMTP:
        return SMTP(sink, hostname="localhost", data_size_limit=MAIL_BYTES, enable_SMTPUTF8=True)

    server = await loop.create_server(session, "127.0.0.1", port)
    async with server:
        await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.folder))


if __name__ == "__main__":
    main()
