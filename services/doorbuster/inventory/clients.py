"""Payment as inventory knows it: what became of an attempt?"""

from collections.abc import Sequence
from dataclasses import dataclass

from doorbuster.contracts import internal
from doorbuster.kit import client

VERDICT_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class PaymentVerdicts:
    """Asks payment; raises client.UnavailableError or client.RefusedError."""

    service: client.ServiceClient

    async def verdicts(self, attempts: Sequence[internal.Attempt]) -> list[internal.Verdict]:
        """Return a verdict for each attempt payment speaks of."""
        answer = await self.service.call(
            "POST",
            "/internal/v1/payments:verdicts",
            internal.Verdicts,
            body=internal.Attempts(items=list(attempts)),
            timeout_seconds=VERDICT_SECONDS,
        )
        return answer.verdicts
