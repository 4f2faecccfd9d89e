"""Reviews: who may write one, and what orders say about who received what."""

from datetime import datetime

import msgspec

from doorbuster.contracts import catalogue, events

NAMELESS = "A buyer"


class NotReceivedError(Exception):
    """Only who received the product may review it."""


class AlreadyReviewedError(Exception):
    """This buyer has reviewed the product; he may change what he wrote."""


class UnknownReviewError(Exception):
    """This buyer has not reviewed the product."""


class Review(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The document of a review; ``author`` is the buyer's first name as he wrote it."""

    review_id: str = msgspec.field(name="_id")
    product_id: str
    user_id: str
    rating: int
    title: str
    text: str
    author: str
    written_at: datetime
    changed_at: datetime | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one order says about its buyer; either half may come first."""

    order_id: str
    user_id: str
    product_ids: tuple[str, ...] = ()
    returned: bool = False


def receipt_of(event: events.Event) -> Receipt | None:
    """Return what an event says about who received what; None for other events."""
    match event:
        case events.OrderDelivered():
            received = tuple(sorted({line.product_id for line in event.lines}))
            return Receipt(order_id=event.order_id, user_id=event.user_id, product_ids=received)
        case events.OrderReturned():
            return Receipt(order_id=event.order_id, user_id=event.user_id, returned=True)
        case _:
            return None


def show(review: Review) -> catalogue.Review:
    """Return a review as everybody sees it."""
    return catalogue.Review(
        review_id=review.review_id,
        product_id=review.product_id,
        rating=review.rating,
        title=review.title,
        text=review.text,
        author=review.author,
        written_at=review.written_at,
        changed_at=review.changed_at,
    )
