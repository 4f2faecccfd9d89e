"""The first look at a shop, before a crowd is sent there: says in plain words why nobody could buy anything."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator

import msgspec

from . import wire
from .shop import CALL_SECONDS, NoAnswerError, SalePage, UnexpectedAnswerError, Visitor

APPEAR_SECONDS = 5.0  # a sale that was applied just now
POLL_SECONDS = 0.5
LOOKER = "198.19.255.253"
OVER = {"Closed": "is over", "Cancelled": "was cancelled", "SoldOut": "is sold out"}


class ClosedDoorError(Exception):
    """Nobody can take part in this sale at this address; the message says why."""


async def look(url: str, sale: str, tls: ssl.SSLContext | None = None) -> SalePage:
    """Return the page of a sale that is open or will be; raises ClosedDoorError."""
    deadline = time.monotonic() + APPEAR_SECONDS
    async with Visitor(url, LOOKER, tls=tls) as visitor:
        while True:
            try:
                answer = await visitor.call("GET", f"/v1/sales/{sale}")
                if answer.status == 404 and answer.code == "HTTP_404":
                    raise ClosedDoorError(f"{url} is no Doorbuster: it knows no /v1/sales")
                if answer.status != 404 or time.monotonic() > deadline:
                    page = await visitor.sale_page(sale)
                    break
            except NoAnswerError as error:
                raise ClosedDoorError(f"{url} {_why(error)}") from error
            except UnexpectedAnswerError as error:
                raise ClosedDoorError(f"{url}: {error}") from error
            await asyncio.sleep(POLL_SECONDS)
    if page.phase in OVER or page.close_ms <= page.server_ms:
        raise ClosedDoorError(f"the sale {sale} {OVER.get(page.phase, 'is over')}")
    return page


def _why(error: BaseException) -> str:
    """Say what a connection that brought no answer died of."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return (
                    f"shows a certificate that is not trusted ({cause.verify_message}): --ca-file"
                )
            case ssl.SSLError():
                return "does not speak TLS: http instead of https?"
            case socket.gaierror():
                return "names no host that is known"
            case ConnectionRefusedError():
                return "listens to nobody"
            case msgspec.DecodeError():
                return "is no Doorbuster: its answer is not JSON"
            case TimeoutError():
                return f"did not answer within {wire.CONNECT_SECONDS:.0f} to {CALL_SECONDS:.0f} s"
            case _:
                continue
    return f"gave no answer ({error}): https instead of http?"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
