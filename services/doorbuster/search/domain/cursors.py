"""Cursors: where a list of results goes on. Opaque to clients, and good for the search that made them only."""

import base64
import binascii
import hashlib
from enum import StrEnum

import msgspec

from doorbuster.contracts import catalogue

_MOST_KEYS = 3


class Stage(StrEnum):
    """How words are compared: as typed, or with mistakes forgiven."""

    EXACT = "exact"
    FORGIVING = "forgiving"


class CursorError(Exception):
    """The cursor is not one of ours, or of another search."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sort keys of the last result that was shown, how many came before the next, and of which search."""

    search: str
    stage: Stage
    seen: int
    values: list[float | int | str]


def encode(cursor: Cursor) -> str:
    """Return a cursor as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode(text: str, query: catalogue.SearchQuery) -> Cursor:
    """Return the cursor of this text; raises CursorError."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (binascii.Error, ValueError) as error:
        raise CursorError("the cursor is not one of ours") from error
    if not 2 <= len(cursor.values) <= _MOST_KEYS or cursor.seen < 0:
        raise CursorError("the cursor is not one of ours")
    if cursor.search != fingerprint(query):
        raise CursorError("the cursor belongs to another search: keep all other parameters")
    return cursor


def fingerprint(query: catalogue.SearchQuery) -> str:
    """Return what two queries share when they are the same search, whatever the page."""
    fixed = msgspec.structs.replace(query, page=1, cursor=None)
    return hashlib.sha256(msgspec.json.encode(fixed)).hexdigest()[:16]
