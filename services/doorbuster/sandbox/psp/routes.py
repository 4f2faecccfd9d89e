"""HTTP of the sandbox: Stripe's routes with keys, idempotency and switched-on faults, and the admin routes."""

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from doorbuster.kit.web import Handler

from . import behaviour, forms
from .behaviour import Behaviour, Faults, Operation
from .endpoints import Call, Endpoints, Reply, error
from .intents import StateError
from .ledger import Ledger, Saved

MAX_BODY_BYTES = 64 * 1024
MAX_KEY_LENGTH = 255
ADMIN_LIMIT = 100_000
CRASH_STATUS = 137

# method, path, endpoint, and under which name its faults are switched on
_ROUTES: tuple[tuple[str, str, str, Operation], ...] = (
    ("POST", "/v1/payment_methods", "method", "method"),
    ("GET", "/v1/payment_methods/{id}", "retrieve_method", "retrieve"),
    ("POST", "/v1/payment_intents", "create", "create"),
    ("GET", "/v1/payment_intents", "list", "list"),
    ("GET", "/v1/payment_intents/{id}", "retrieve", "retrieve"),
    ("POST", "/v1/payment_intents/{id}/confirm", "confirm", "confirm"),
    ("POST", "/v1/payment_intents/{id}/capture", "capture", "capture"),
    ("POST", "/v1/payment_intents/{id}/cancel", "cancel", "cancel"),
    ("POST", "/v1/refunds", "refund", "refund"),
    ("GET", "/v1/refunds/{id}", "retrieve_refund", "retrieve"),
)


@dataclass(kw_only=True)
class Front:
    """Answers requests one transaction each; ``key`` is the only secret key that is let in."""

    ledger: Ledger
    endpoints: Endpoints
    key: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    _busy_keys: set[str] = field(default_factory=set)

    def routes(self) -> Sequence[web.RouteDef]:
        """Return all routes."""
        stripe = [
            web.route(method, path, self._handler(name, operation))
            for method, path, name, operation in _ROUTES
        ]
        return [
            *stripe,
            web.get("/admin/intents", self._admin_intents),
            web.post("/admin/intents/{id}/expire", self._admin_expire),
            web.get("/admin/behaviour", self._admin_behaviour),
            web.put("/admin/behaviour", self._admin_set_behaviour),
        ]

    def _handler(self, name: str, operation: Operation) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not self._is_known(request):
                return _response(
                    error("invalid_request_error", "Invalid API Key provided.", status=401)
                )
            try:
                form = forms.parse(
                    request.query_string if request.method == "GET" else await request.text()
                )
            except (forms.FormError, UnicodeDecodeError, LookupError) as refusal:
                return _response(error("invalid_request_error", str(refusal), status=400))
            key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
            if len(key) > MAX_KEY_LENGTH:
                return _response(
                    error("invalid_request_error", "The idempotency key is too long.", status=400)
                )
            self.behaviour, faults = behaviour.take(self.behaviour, operation)
            call = Call(
                object_id=request.match_info.get("id", ""),
                form=form,
                now=int(time.time()),
                decline=faults.decline,
            )
            return await self._answer(request, name, call, key, faults)

        return handle

    async def _answer(
        self, request: web.Request, name: str, call: Call, key: str, faults: Faults
    ) -> web.StreamResponse:
        if key in self._busy_keys:
            message = "There is currently another in-progress request using this Stripe key."
            return _response(
                error("idempotency_error", message, status=409, code="idempotency_key_in_use")
            )
        if key:
            self._busy_keys.add(key)
        try:
            if faults.delay_seconds:
                await asyncio.sleep(faults.delay_seconds)
            if faults.crash == "before":
                os._exit(CRASH_STATUS)
            replayed, reply = self._perform(request.path, name, call, key, faults)
        finally:
            self._busy_keys.discard(key)
        if faults.crash == "after":
            os._exit(CRASH_STATUS)
        if faults.drop_reply and request.transport is not None:
            request.transport.abort()
        return _response(reply, replayed=replayed)

    def _perform(
        self, path: str, name: str, call: Call, key: str, faults: Faults
    ) -> tuple[bool, Reply]:
        mac = self._mac(path, call)
        with self.ledger.transaction():
            saved = self.ledger.answer(key, now=call.now) if key else None
            if saved is not None:
                return True, _replay(saved, mac)
            fail = faults.fail
            reply = Reply(status=0, body={})
            if fail is None or fail.acted:
                reply = self.endpoints.answer(name, call)
            if fail is not None:
                message = "An error happened on our side (switched on by /admin/behaviour)."
                kind = "rate_limit_error" if fail.status == 429 else "api_error"
                reply = error(kind, message, status=fail.status, began=fail.saved)
            if key and reply.began:
                body = msgspec.json.encode(reply.body)
                kept = Saved(request_mac=mac, status=reply.status, body=body)
                self.ledger.save_answer(key, kept, now=call.now)
        return False, reply

    def _is_known(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.key.encode())

    def _mac(self, path: str, call: Call) -> str:
        # Keyed, and the key is not in the file: a plain hash of a card's number could be turned back.
        text = path.encode() + b"\n" + msgspec.json.encode(call.form, order="sorted")
        return hmac.new(self.key.encode(), text, hashlib.sha256).hexdigest()

    async def _admin_intents(self, _request: web.Request) -> web.Response:
        found = self.ledger.intents(limit=ADMIN_LIMIT)
        shown = [
            {
                "id": intent.id,
                "status": intent.status,
                "amount": intent.amount,
                "currency": intent.currency,
                "amountCapturable": intent.amount_capturable,
                "amountCaptured": intent.amount_received,
                "amountRefunded": intent.amount_refunded,
                "metadata": intent.metadata,
                "orderId": intent.metadata.get("order_id"),
                "attempt": _number(intent.metadata.get("attempt")),
                "created": intent.created,
            }
            for intent in found
        ]
        return web.json_response(body=msgspec.json.encode({"intents": shown}))

    async def _admin_expire(self, request: web.Request) -> web.Response:
        try:
            with self.ledger.transaction():
                changed = self.endpoints.expire(request.match_info["id"], now=int(time.time()))
        except StateError as refusal:
            return _response(error("invalid_request_error", str(refusal), status=400))
        if changed is None:
            raise web.HTTPNotFound
        return web.json_response({"id": changed.id, "status": changed.status})

    async def _admin_behaviour(self, _request: web.Request) -> web.Response:
        return web.json_response(body=msgspec.json.encode(self.behaviour))

    async def _admin_set_behaviour(self, request: web.Request) -> web.Response:
        try:
            self.behaviour = msgspec.json.decode(await request.read(), type=Behaviour)
        except (msgspec.MsgspecError, RecursionError) as refusal:
            return _response(error("invalid_request_error", str(refusal), status=400))
        return await self._admin_behaviour(request)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _replay(saved: Saved, mac: str) -> Reply:
    if not hmac.compare_digest(saved.request_mac, mac):
        message = (
            "Keys for idempotent requests can only be used with the same parameters"
            " they were first used with."
        )
        return error("idempotency_error", message, status=400)
    return Reply(status=saved.status, body=msgspec.json.decode(saved.body))


def _response(reply: Reply, *, replayed: bool = False) -> web.Response:
    headers = {"Request-Id": "req_" + secrets.token_hex(7)}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return web.Response(
        body=msgspec.json.encode(reply.body),
        status=reply.status,
        content_type="application/json",
        headers=headers,
    )


@web.middleware
async def stripe_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what aiohttp itself refuses in Stripe's words."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        message = f"Unrecognized request URL ({request.method}: {request.path[:200]})."
        if refusal.status == 413:
            message = "The request body is too large."
        return _response(error("invalid_request_error", message, status=refusal.status))
