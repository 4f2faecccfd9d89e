"""The notification service over HTTP: how a user is told, and for admins the letters that went astray."""

from dataclasses import dataclass
from typing import Literal

from aiohttp import web as aiohttp_web

from doorbuster.contracts import api, fulfilment, shopping
from doorbuster.kit import web

from . import domain
from .domain import Outcome, Preferences
from .ports import Record
from .usecases import Notifications

State = Literal["pending", "sent", "failed", "skipped"]
_OUTCOMES: dict[State, Outcome] = {
    "pending": Outcome.LATER,
    "sent": Outcome.SENT,
    "failed": Outcome.FAILED,
    "skipped": Outcome.SKIPPED,
}


@dataclass(frozen=True)
class NotificationRoutes:
    """Handlers over the use cases."""

    notifications: Notifications

    def table(self) -> list[web.Route]:
        """Return the routes with their callers."""
        users, admins = web.Users(), web.Users(frozenset({"admin"}))
        preferences = "/v1/notifications/preferences"
        return [
            web.Route(method="GET", path=preferences, handler=self.get_preferences, access=users),
            web.Route(method="PUT", path=preferences, handler=self.put_preferences, access=users),
            web.Route(
                method="GET", path="/v1/admin/letters", handler=self.list_letters, access=admins
            ),
            web.Route(
                method="POST",
                path="/v1/admin/letters:redrive",
                handler=self.redrive,
                access=admins,
            ),
        ]

    async def get_preferences(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/notifications/preferences``."""
        found = await self.notifications.preferences_of(request[web.USER].user_id)
        return web.json_response(
            shopping.NotificationPreferences(email=found.email, sms=found.sms)
        )

    async def put_preferences(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /v1/notifications/preferences``."""
        body = await web.read_json(request, shopping.NotificationPreferences)
        await self.notifications.prefer(
            request[web.USER].user_id, Preferences(email=body.email, sms=body.sms)
        )
        return web.json_response(body)

    async def list_letters(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/admin/letters``: newest first."""
        query = web.read_query(request, fulfilment.LetterQuery)
        found = await self.notifications.page(
            _OUTCOMES[query.state], offset=(query.page - 1) * query.size, limit=query.size
        )
        answer = fulfilment.LetterList(
            letters=[_show(record, query.state) for record in found.records],
            pagination=api.Pagination(
                page=query.page,
                size=query.size,
                total_pages=-(-found.total // query.size),
                total_items=found.total,
            ),
        )
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def redrive(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/letters:redrive``: an id that names no failed letter is not counted."""
        body = await web.read_json(request, fulfilment.Redrive)
        chosen = (
            None
            if body.letter_ids is None
            else {found for text in body.letter_ids if (found := domain.letter_id(text))}
        )
        redriven = await self.notifications.redrive(chosen)
        return web.json_response(fulfilment.Redriven(redriven=redriven))


def _show(record: Record, state: State) -> fulfilment.Letter:
    return fulfilment.Letter(
        letter_id=str(record.letter_id),
        order_id=record.letter_id.order_id,
        kind=record.letter_id.kind.value,
        channel=record.letter_id.channel.value,
        state=state,
        attempts=record.attempts,
        written_at=record.written_at,
        why=record.why,
    )
