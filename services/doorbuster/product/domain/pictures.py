"""Pictures on their way: tickets to upload, when to look for what was uploaded, and names of what is shown."""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

TICKET_LIFE = timedelta(minutes=15)
# An upload that began in time may end later; then nobody uploads under this name any more.
UPLOAD_SLACK = timedelta(minutes=5)
# An upload that is older than this and that no ticket knows was finished after its ticket had ended.
ORPHANED_AFTER = timedelta(hours=1)
CLAIM = timedelta(seconds=60)
SOONEST, LATEST = timedelta(seconds=1), timedelta(seconds=30)
REFUSALS_KEPT = timedelta(days=1)
PRIVATE, PUBLIC = "uploads", "images"
THUMBNAIL_PIXELS, LARGE_PIXELS = 320, 1600
CACHE_CONTROL = "public, max-age=31536000, immutable"
SHOWN_TYPE = "image/webp"


class TooManyImagesError(Exception):
    """The product has as many pictures as it may have, those under way among them."""


class UnknownImageError(Exception):
    """The product has no such picture."""


class BadPictureError(Exception):
    """What was uploaded is not the picture that was promised; the message says why, without the file's own words."""


class State(StrEnum):
    """WAITING for an upload; REFUSED and REMOVED have objects to be deleted; ADDED is shown, its original is left."""

    WAITING = "waiting"
    ADDED = "added"
    REFUSED = "refused"
    REMOVED = "removed"


class Ticket(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The document of a picture that somebody still has work with.

    ``objects`` are names that must be gone before the ticket is; ``due_at`` is when a worker looks next, None when
    there is no work left. ``size`` is in bytes.
    """

    image_id: str = msgspec.field(name="_id")
    product_id: str
    state: State
    content_type: str
    size: int
    alt: str = ""
    reason: str = ""
    objects: list[str]
    created_at: datetime
    expires_at: datetime
    due_at: datetime | None

    @property
    def original(self) -> str:
        """The private name of what was uploaded."""
        return f"{PRIVATE}/{self.image_id}"


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A private object: its name, and when it was stored."""

    name: str
    stored_at: datetime

    @property
    def image_id(self) -> str:
        """The picture that it was uploaded for."""
        return self.name.removeprefix(f"{PRIVATE}/")


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """A picture made for showing; sizes in pixels."""

    data: bytes
    width: int
    height: int


class Renditions(msgspec.Struct, frozen=True, kw_only=True):
    """The two sizes of one picture."""

    large: Rendition
    thumbnail: Rendition


def new_ticket(
    image_id: str, product_id: str, *, content_type: str, size: int, alt: str, now: datetime
) -> Ticket:
    """Return the ticket of an upload that may begin now."""
    return Ticket(
        image_id=image_id,
        product_id=product_id,
        state=State.WAITING,
        content_type=content_type,
        size=size,
        alt=alt,
        objects=[f"{PRIVATE}/{image_id}"],
        created_at=now,
        expires_at=now + TICKET_LIFE,
        due_at=now + SOONEST,
    )


def is_over(ticket: Ticket, now: datetime) -> bool:
    """Tell whether nothing can be uploaded with a ticket any more."""
    return now > ticket.expires_at + UPLOAD_SLACK


def may_be_orphaned(upload: Upload, now: datetime) -> bool:
    """Tell whether an upload is so old that its ticket has ended, unless somebody still has work with it."""
    return now - upload.stored_at > ORPHANED_AFTER


def look_again_at(ticket: Ticket, now: datetime) -> datetime:
    """Return when to look for an upload again: soon after the ticket was given, then ever less often."""
    return now + min(max((now - ticket.created_at) / 10, SOONEST), LATEST)


def public_name(image_id: str, rendition: Rendition) -> str:
    """Return a name that never shows anything else: the hash of the content is in it."""
    digest = hashlib.sha256(rendition.data).hexdigest()[:24]
    return f"{PUBLIC}/{image_id}/{digest}-{rendition.width}.webp"
