"""The payment service provider, spoken to with Stripe's own package over its PaymentIntents API.

The package retries nothing here and every call has a deadline. Errors of the package carry bodies and
headers: only their codes go further. Create and confirm carry keys made of order and attempt, so that they act
once. Capture, cancel and refund carry none of ours: the intent's status and the charge's own balance let each
happen once, and a key would replay a stored 500 for as long as the provider remembers it.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import stripe
from opentelemetry.trace import SpanKind
from prometheus_client import Histogram

from doorbuster.kit import telemetry
from doorbuster.payment.domain import Attempt, Card, Charge, ChargeStatus, Method, Token
from doorbuster.payment.ports import ProviderAwayError, ProviderRefusedError

CALL_SECONDS = 4.0
CONNECT_SECONDS = 1.0
SIGNATURE_TOLERANCE_SECONDS = 300
CALLS = Histogram(
    "doorbuster_psp_call_seconds",
    "Calls to the payment service provider, by operation and outcome",
    ["operation", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4),
)
_STATUSES: dict[str, ChargeStatus] = {
    "requires_capture": "authorised",
    "succeeded": "captured",
    "canceled": "cancelled",
    "requires_payment_method": "open",
    "requires_confirmation": "open",
    "requires_action": "open",
}
Answer = TypeVar("Answer")


class StripeProvider:
    """See the port. Use :func:`open_provider`."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._intents = client.v1.payment_intents
        self._methods = client.v1.payment_methods
        self._refunds = client.v1.refunds

    async def tokenise(self, method: Method, key: str) -> str:
        """Hand raw card fields to the provider at once; what is a payment method already stays as it is."""
        match method:
            case Token(value=value) if value.startswith("pm_"):
                return value
            case Token(value=value):
                made = self._methods.create_async(
                    {"type": "card", "card": {"token": value}}, {"idempotency_key": key}
                )
            case Card():
                made = self._methods.create_async(
                    {
                        "type": "card",
                        "card": {
                            "number": method.number,
                            "exp_month": method.exp_month,
                            "exp_year": method.exp_year,
                            "cvc": method.cvc,
                        },
                    },
                    {"idempotency_key": key},
                )
        return (await _call("tokenise", made)).id

    async def create(self, attempt: Attempt) -> str:
        """Make the intent of an attempt; the same attempt makes the same intent."""
        purchase = attempt.purchase
        intent = await _call(
            "create",
            self._intents.create_async(
                {
                    "amount": purchase.amount_minor,
                    "currency": purchase.currency.lower(),
                    "capture_method": "manual",
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "metadata": {
                        "order_id": attempt.order_id,
                        "attempt": str(attempt.attempt),
                        "payment_id": attempt.payment_id,
                    },
                },
                {"idempotency_key": attempt.provider_key()},
            ),
        )
        return intent.id

    async def confirm(self, attempt: Attempt) -> Charge:
        """Ask the card; one that wants its owner's authentication is declined with that code."""
        try:
            intent = await _call(
                "confirm",
                self._intents.confirm_async(
                    attempt.intent_id or "",
                    {
                        "payment_method": attempt.token or "",
                        "error_on_requires_action": True,
                        "expand": ["payment_method"],
                    },
                    {"idempotency_key": attempt.provider_key("confirm")},
                ),
            )
        except _CardDeclinedError as decline:
            return Charge(status="declined", decline_code=decline.code)
        return _charge(intent)

    async def retrieve(self, intent_id: str) -> Charge:
        """Look, change nothing."""
        return _charge(
            await _call(
                "retrieve",
                self._intents.retrieve_async(intent_id, {"expand": ["payment_method"]}),
            )
        )

    async def capture(self, attempt: Attempt) -> None:
        """Take the authorised money."""
        await _call("capture", self._intents.capture_async(attempt.intent_id or ""))

    async def cancel(self, attempt: Attempt) -> None:
        """End an intent for good."""
        await _call("cancel", self._intents.cancel_async(attempt.intent_id or ""))

    async def refund(self, attempt: Attempt) -> None:
        """Give all of the captured money back; of a charge that is given back already nothing is left."""
        try:
            made = await _call(
                "refund", self._refunds.create_async({"payment_intent": attempt.intent_id or ""})
            )
        except ProviderRefusedError as refusal:
            if refusal.code != "charge_already_refunded":
                raise
        else:
            if made.status in ("failed", "canceled"):
                reason = getattr(made, "failure_reason", None)
                raise ProviderRefusedError(reason or f"refund_{made.status}")


class _CardDeclinedError(ProviderRefusedError):
    """The card said no."""


async def _call(operation: str, call: Awaitable[Answer]) -> Answer:
    """Await one call and sort its failure; only codes leave this function, never a body or a header."""
    started = time.perf_counter()
    outcome = "ok"
    try:
        with telemetry.span(f"psp {operation}", SpanKind.CLIENT):
            return await call
    except stripe.CardError as error:
        outcome = "declined"
        raise _CardDeclinedError(_why(error.error)) from None
    except (stripe.APIConnectionError, aiohttp.ClientError, TimeoutError, OSError) as error:
        outcome = "away"
        raise ProviderAwayError(f"{operation}: {type(error).__name__}") from None
    except stripe.StripeError as error:
        outcome = "refused" if _is_definite(error) else "away"
        telemetry.log().warning(
            "psp_error",
            operation=operation,
            status=error.http_status,
            code=error.code,
            request=error.request_id,
        )
        if outcome == "refused":
            raise ProviderRefusedError(error.code or "refused") from None
        raise ProviderAwayError(f"{operation}: status {error.http_status}") from None
    finally:
        CALLS.labels(operation, outcome).observe(time.perf_counter() - started)


def _is_definite(error: stripe.StripeError) -> bool:
    """Tell a refusal from "not now": a busy key, a limit, our own credentials and the provider's faults pass."""
    return error.http_status is not None and error.http_status in (400, 402, 404)


def _why(failure: object) -> str:
    """Return the most telling code; the provider leaves out what it has not, and the package raises for that."""
    said = (getattr(failure, name, None) for name in ("decline_code", "code"))
    return next(filter(None, said), "card_declined")


def _charge(intent: stripe.PaymentIntent) -> Charge:
    status = _STATUSES.get(intent.status)
    if status is None:
        raise ProviderAwayError(f"the intent is {intent.status}")
    failure = intent.last_payment_error
    if status == "open" and failure is not None:
        return Charge(status="declined", decline_code=_why(failure))
    method = intent.payment_method
    card = method.card if isinstance(method, stripe.PaymentMethod) else None
    return Charge(
        status=status,
        brand=None if card is None else card.brand,
        last4=None if card is None else card.last4,
    )


def is_signed(payload: bytes, header: str, secret: str) -> bool:
    """Tell whether a webhook was signed with this secret, lately; without a secret none is.

    The package would check against an empty key, with which anybody can sign.
    """
    if not secret:
        return False
    try:
        stripe.WebhookSignature.verify_header(
            payload.decode(), header, secret, SIGNATURE_TOLERANCE_SECONDS
        )
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False
    return True


@asynccontextmanager
async def open_provider(url: str, key: str) -> AsyncIterator[StripeProvider]:
    """Open the provider's client; it connects when first used."""
    # At DEBUG the package logs whole request bodies, cards and all.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
    session = stripe.AIOHTTPClient(timeout=timeout)
    client = stripe.StripeClient(
        key,
        base_addresses={"api": url.rstrip("/")},
        http_client=session,
        max_network_retries=0,
    )
    try:
        yield StripeProvider(client)
    finally:
        await session.close_async()  # type: ignore[no-untyped-call]  # stripe's own lack
