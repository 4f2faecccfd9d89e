"""The HTTP of payment: parse, call one use case, render."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from aiohttp import web as http

from doorbuster.contracts import api, internal
from doorbuster.kit import ids, web

from .domain import FAILED, Attempt, Card, Method, Token, UnknownOrderError
from .usecases import Pay, PayCommand, Recovery, Verdicts

MAX_VERDICTS = 1000
HINTS = frozenset(
    f"payment_intent.{what}"
    for what in ("amount_capturable_updated", "payment_failed", "canceled", "succeeded")
)


class WebhookRefusedError(Exception):
    """The signature of a webhook is missing, wrong or too old."""


class RawCardsRefusedError(Exception):
    """Raw card fields came to a deployment that takes only the provider's tokens."""


class _WebhookObject(msgspec.Struct):
    metadata: dict[str, str] = {}


class _WebhookData(msgspec.Struct):
    object: _WebhookObject


class _Webhook(msgspec.Struct):
    type: str
    data: _WebhookData


@dataclass(kw_only=True)
class PaymentRoutes:
    """``is_signed`` tells of a webhook's body and signature header whether the provider sent it."""

    pay: Pay
    verdicts: Verdicts
    recovery: Recovery
    is_signed: Callable[[bytes, str], bool]
    allow_raw_cards: bool

    def table(self) -> list[web.Route]:
        """Return all routes with who may call them."""
        return [
            web.Route(
                method="POST", path="/v1/payment", handler=self.post_payment, access=web.Users()
            ),
            web.Route(
                method="POST",
                path="/v1/webhooks/psp",
                handler=self.post_webhook,
                access=web.Public(),
            ),
            web.Route(
                method="POST",
                path="/internal/v1/payments:verdicts",
                handler=self.post_verdicts,
                access=web.callers("inventory"),
            ),
        ]

    async def post_payment(self, request: http.Request) -> http.StreamResponse:
        """Pay an order; 200 also tells of a declined card."""
        body = await web.read_json(request, api.Payment)
        if not ids.is_id(body.order_id, "order"):
            raise UnknownOrderError("there is no such order")
        attempt = await self.pay.pay(
            PayCommand(
                user_id=request[web.USER].user_id,
                order_id=body.order_id,
                method=self._method(body),
                amount=body.amount,
                idempotency_key=web.idempotency_key(request),
            )
        )
        return web.json_response(_done(attempt))

    def _method(self, body: api.Payment) -> Method:
        card = body.card_details
        if (card is None) == (body.token is None):
            raise web.InvalidError("send either cardDetails or token")
        if card is None:
            return Token(value=body.token or "")
        if not self.allow_raw_cards:
            raise RawCardsRefusedError("raw card fields are not taken here: send a token")
        return Card(
            number=card.number.replace(" ", ""),
            exp_month=card.exp_month,
            exp_year=card.exp_year,
            cvc=card.cvc,
        )

    async def post_verdicts(self, request: http.Request) -> http.StreamResponse:
        """Say which attempts are sold."""
        body = await web.read_json(request, internal.Attempts)
        if len(body.items) > MAX_VERDICTS:
            raise web.InvalidError(f"at most {MAX_VERDICTS} items")
        return web.json_response(internal.Verdicts(verdicts=await self.verdicts.of(body.items)))

    async def post_webhook(self, request: http.Request) -> http.StreamResponse:
        """Hear from the provider; only a hint to look, so an unknown event is simply taken."""
        payload = await web.read_body(request)
        if not self.is_signed(payload, request.headers.get("Stripe-Signature", "")):
            raise WebhookRefusedError("the signature is missing, wrong or too old")
        event = web.decode(payload, _Webhook)
        metadata = event.data.object.metadata
        order_id, attempt = metadata.get("order_id", ""), metadata.get("attempt", "")
        known = ids.is_id(order_id, "order") and attempt.isascii() and attempt.isdecimal()
        if event.type in HINTS and known and len(attempt) < 6:
            await self.recovery.hear(order_id, int(attempt))
        return web.json_response({"received": True})


def _done(attempt: Attempt) -> api.PaymentDone:
    declined = attempt.state in FAILED
    return api.PaymentDone(
        status="failed" if declined else "success",
        transaction_id=attempt.payment_id,
        order_id=attempt.order_id,
        decline_code=(attempt.decline_code or "declined") if declined else None,
    )
