"""The tickets and objects of pictures in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec.structs import replace

from doorbuster.product.domain.pictures import (
    CLAIM,
    PRIVATE,
    State,
    Ticket,
    TooManyImagesError,
    UnknownImageError,
    Upload,
)
from doorbuster.product.domain.products import Picture

from .catalogue import NOW, Shelves


@dataclass(frozen=True)
class FakeTicketStore:
    """Tickets in memory."""

    shelves: Shelves

    async def open(self, ticket: Ticket, *, most: int) -> None:
        """Store a ticket."""
        images = self.shelves.sold(ticket.product_id).images
        waiting = [
            found
            for found in self.shelves.tickets.values()
            if found.product_id == ticket.product_id and found.state is State.WAITING
        ]
        if len(images) + len(waiting) >= most:
            raise TooManyImagesError("full")
        self.shelves.tickets[ticket.image_id] = ticket

    async def find(self, product_id: str, image_id: str) -> Ticket | None:
        """Return a ticket."""
        found = self.shelves.tickets.get(image_id)
        return found if found is not None and found.product_id == product_id else None

    async def claim_due(self, now: datetime) -> Ticket | None:
        """Return a due ticket and put it off."""
        due = sorted(
            (found.due_at, found.image_id)
            for found in self.shelves.tickets.values()
            if found.due_at is not None and found.due_at <= now
        )
        if not due:
            return None
        await self.put_off(due[0][1], now + CLAIM)
        return self.shelves.tickets[due[0][1]]

    async def put_off(self, image_id: str, until: datetime) -> None:
        """Look again then."""
        self.shelves.tickets[image_id] = replace(self.shelves.tickets[image_id], due_at=until)

    async def name_objects(self, image_id: str, names: list[str]) -> bool:
        """Remember what is about to be stored."""
        ticket = self._waiting(image_id)
        if ticket is None:
            return False
        objects = list(dict.fromkeys([*ticket.objects, *names]))
        self.shelves.tickets[image_id] = replace(ticket, objects=objects)
        return True

    async def show(self, ticket: Ticket, picture: Picture, now: datetime) -> bool:
        """Give the product its picture."""
        found = self._waiting(ticket.image_id)
        if found is None:
            return False
        self.shelves.tickets[ticket.image_id] = replace(
            found, state=State.ADDED, objects=[ticket.original], due_at=now
        )
        images = [*self.shelves.sold(ticket.product_id).images, picture]
        self.shelves.change(ticket.product_id, images=images)
        return True

    async def refuse(self, image_id: str, reason: str, now: datetime) -> None:
        """End an upload."""
        if (ticket := self._waiting(image_id)) is not None:
            self.shelves.tickets[image_id] = replace(
                ticket, state=State.REFUSED, reason=reason, due_at=now
            )

    async def close(self, ticket: Ticket, now: datetime) -> None:
        """Forget a ticket."""
        found = self.shelves.tickets.get(ticket.image_id)
        if found is None or found.state is not ticket.state:
            return
        if ticket.state is State.REFUSED:
            self.shelves.tickets[ticket.image_id] = replace(found, due_at=None, objects=[])
        else:
            del self.shelves.tickets[ticket.image_id]

    async def remove(self, product_id: str, image_id: str, now: datetime) -> None:
        """Take a picture from its product."""
        images = self.shelves.sold(product_id).images
        ticket = self.shelves.tickets.get(image_id)
        shown = [image for image in images if image.image_id == image_id]
        if shown:
            left = [image for image in images if image.image_id != image_id]
            self.shelves.change(product_id, images=left)
            self.shelves.doom(product_id, shown[0], now)
        elif ticket is not None and ticket.state is State.WAITING:
            self.shelves.tickets[image_id] = replace(
                ticket, state=State.REMOVED, due_at=now + CLAIM
            )
        else:
            raise UnknownImageError("none")

    async def under_way(self, image_ids: Sequence[str]) -> set[str]:
        """Return those that somebody still has work with."""
        due = {name for name, found in self.shelves.tickets.items() if found.due_at is not None}
        return due & set(image_ids)

    async def overdue(self, now: datetime) -> timedelta:
        """Return how long the oldest ticket has been due."""
        due = [item.due_at for item in self.shelves.tickets.values() if item.due_at is not None]
        return max(now - min(due), timedelta(0)) if due else timedelta(0)

    def _waiting(self, image_id: str) -> Ticket | None:
        found = self.shelves.tickets.get(image_id)
        return found if found is not None and found.state is State.WAITING else None


@dataclass
class FakeObjectStore:
    """Objects in memory; ``away`` answers nothing."""

    held: dict[str, bytes] = field(default_factory=dict)
    stored_at: dict[str, datetime] = field(default_factory=dict)
    away: bool = False

    async def sign_upload(self, ticket: Ticket) -> tuple[str, dict[str, str]]:
        """Return where to post a form."""
        self._answer()
        return "http://s3.example/bucket", {"key": ticket.original}

    async def size(self, name: str) -> int | None:
        """Return the bytes of an object."""
        self._answer()
        return len(self.held[name]) if name in self.held else None

    async def read(self, name: str) -> bytes:
        """Return an object."""
        self._answer()
        return self.held[name]

    async def publish(self, name: str, data: bytes) -> None:
        """Store an object."""
        self._answer()
        self.held[name] = data

    async def delete(self, name: str) -> None:
        """Delete an object."""
        self._answer()
        self.held.pop(name, None)

    async def uploads(self, *, after: str, limit: int) -> list[Upload]:
        """Return private objects by name."""
        self._answer()
        names = sorted(n for n in self.held if n.startswith(f"{PRIVATE}/") and n > after)
        return [
            Upload(name=name, stored_at=self.stored_at.get(name, NOW)) for name in names[:limit]
        ]

    def _answer(self) -> None:
        if self.away:
            raise ConnectionError("no objects")
