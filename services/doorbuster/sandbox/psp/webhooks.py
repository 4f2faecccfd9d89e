"""Brings the sandbox's events to the shop, signed as Stripe signs them, again and again until taken or given up."""

import hashlib
import hmac
import time
from dataclasses import dataclass

import aiohttp

from doorbuster.kit import telemetry

from .ledger import Ledger

BATCH = 20
MAX_TRIES = 10
DELIVER_SECONDS = 5.0
POLL_SECONDS = 0.2


def signature(payload: bytes, secret: str, *, at: int) -> str:
    """Return the Stripe-Signature header of a payload."""
    signed = f"{at}.".encode() + payload
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@dataclass(kw_only=True)
class Courier:
    """Steps through the queued events; without a URL they are only dropped."""

    ledger: Ledger
    session: aiohttp.ClientSession
    url: str
    secret: str

    async def step(self) -> bool:
        """Deliver one batch; true when there may be more to do at once."""
        waiting = self.ledger.notices(limit=BATCH)
        failed = False
        for number, body, tries in waiting:
            if not self.url or await self._deliver(body):
                self.ledger.drop_notice(number)
            elif tries + 1 >= MAX_TRIES:
                telemetry.log().warning("webhook_given_up", tries=tries + 1)
                self.ledger.drop_notice(number)
            else:
                self.ledger.retry_notice(number)
                failed = True
                break
        if failed:
            raise ConnectionError("the webhook was not taken")
        return len(waiting) == BATCH

    async def _deliver(self, body: bytes) -> bool:
        headers = {
            "Content-Type": "application/json",
            "Stripe-Signature": signature(body, self.secret, at=int(time.time())),
        }
        timeout = aiohttp.ClientTimeout(total=DELIVER_SECONDS)
        try:
            async with self.session.post(
                self.url, data=body, headers=headers, timeout=timeout
            ) as answer:
                return answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
