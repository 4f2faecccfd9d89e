"""Wires the SMS sandbox: its file and its routes, in Twilio's words."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from doorbuster.kit import config, process
from doorbuster.kit.clock import utc_now
from doorbuster.kit.web import Handler

from . import messages
from .messages import Behaviour, FailFault, Message, Outbox, RefusedError

MAX_BODY_BYTES = 16 * 1024
MAX_PAGE = 1000
ADMIN_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """Where the sandbox keeps what it sent, and whom it lets in."""

    account: str = config.setting("DOORBUSTER_SMS_ACCOUNT")
    token: str = config.setting("DOORBUSTER_SMS_TOKEN", secret=True)
    state: str = config.setting("DOORBUSTER_SMS_STATE", default=":memory:")


@dataclass(kw_only=True)
class Front:
    """Answers requests; only this account with this token is let in."""

    outbox: Outbox
    account: str
    token: str
    behaviour: Behaviour = field(default_factory=Behaviour)

    def routes(self) -> Sequence[web.RouteDef]:
        """Return all routes."""
        path = "/2010-04-01/Accounts/{account}/Messages.json"
        return [
            web.post(path, self._send),
            web.get(path, self._list),
            web.get("/admin/messages", self._admin_messages),
            web.get("/admin/behaviour", self._admin_behaviour),
            web.put("/admin/behaviour", self._admin_set_behaviour),
        ]

    async def _send(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return _error(401, 20003, "Authenticate")
        form = {name: str(value) for name, value in (await request.post()).items()}
        fail, drop_reply = self._take_faults()
        await asyncio.sleep(self.behaviour.delay_millis / 1000)
        try:
            messages.require_sendable(form)
        except RefusedError as refused:
            return _error(400, refused.code, str(refused))
        if fail is not None and not fail.acted:
            return _error(fail.status, fail.code, "Switched on by /admin/behaviour.")
        sent = self.outbox.send(form, utc_now())
        if drop_reply and request.transport is not None:
            request.transport.abort()
        if fail is not None:
            return _error(fail.status, fail.code, "Switched on by /admin/behaviour.")
        return web.json_response(self._resource(sent, "queued"), status=201)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return _error(401, 20003, "Authenticate")
        size = request.query.get("PageSize", "50")
        if not (
            size.isascii() and size.isdigit() and len(size) <= 4 and 1 <= int(size) <= MAX_PAGE
        ):
            return _error(400, 20001, "PageSize must be 1 to 1000")
        found = self.outbox.find(request.query.get("To"), limit=int(size))
        shown = [self._resource(message, "delivered") for message in found]
        return web.json_response({"messages": shown, "page": 0, "page_size": int(size)})

    def _take_faults(self) -> tuple[FailFault | None, bool]:
        fail, drops = self.behaviour.fail_next, self.behaviour.drop_reply_next
        less = None
        if fail is not None and fail.count > 1:
            less = msgspec.structs.replace(fail, count=fail.count - 1)
        self.behaviour = msgspec.structs.replace(
            self.behaviour, fail_next=less, drop_reply_next=max(drops - 1, 0)
        )
        return (fail if fail is not None and fail.count else None), drops > 0

    def _is_known(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").encode()
        right = aiohttp.encode_basic_auth(self.account, self.token).encode()
        is_right = hmac.compare_digest(given, right)
        return is_right and request.match_info["account"] == self.account

    def _resource(self, message: Message, status: str) -> dict[str, Any]:
        return {
            "sid": message.sid,
            "account_sid": self.account,
            "to": message.recipient,
            "from": message.sender,
            "body": message.body,
            "status": status,
            "direction": "outbound-api",
            "date_created": message.created,
            "error_code": None,
            "error_message": None,
        }

    async def _admin_messages(self, _request: web.Request) -> web.Response:
        found = self.outbox.find(None, limit=ADMIN_LIMIT)
        return web.json_response(body=msgspec.json.encode({"messages": found}))

    async def _admin_behaviour(self, _request: web.Request) -> web.Response:
        return web.json_response(body=msgspec.json.encode(self.behaviour))

    async def _admin_set_behaviour(self, request: web.Request) -> web.Response:
        try:
            self.behaviour = msgspec.json.decode(await request.read(), type=Behaviour)
        except (msgspec.MsgspecError, RecursionError) as refusal:
            return _error(400, 20001, str(refusal))
        return await self._admin_behaviour(request)


def _error(status: int, code: int, message: str) -> web.Response:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(body, status=status)


@web.middleware
async def twilio_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what aiohttp itself refuses in Twilio's words."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        code = 20404 if refusal.status == 404 else 20001
        return _error(refusal.status, code, refusal.reason)


@asynccontextmanager
async def build() -> AsyncIterator[process.Service]:
    """Build the sandbox from the environment."""
    settings = config.load(SandboxConfig)
    if settings.state != ":memory:":
        Path(settings.state).parent.mkdir(parents=True, exist_ok=True)
    with closing(Outbox(settings.state)) as outbox:
        front = Front(outbox=outbox, account=settings.account, token=settings.token)
        app = web.Application(middlewares=[twilio_errors], client_max_size=MAX_BODY_BYTES)
        app.add_routes(front.routes())

        async def check() -> None:
            outbox.ping()

        yield process.Service(name="sms", app=app, checks={"outbox": check})
