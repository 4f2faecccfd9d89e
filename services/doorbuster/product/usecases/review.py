"""Reviews by those who received a product; orders tell who that is."""

from dataclasses import dataclass

from doorbuster.contracts import catalogue
from doorbuster.kit import clock, consumer, ids
from doorbuster.product.domain import products, reviews
from doorbuster.product.domain.products import UnknownProductError
from doorbuster.product.domain.reviews import NotReceivedError, Review
from doorbuster.product.ports import ProductStore, ReviewStore, Users


@dataclass(frozen=True, kw_only=True)
class Reviewing:
    """The use cases around reviews."""

    store: ProductStore
    review_store: ReviewStore
    users: Users
    now: clock.Clock = clock.utc_now

    async def write(
        self, product_id: str, user_id: str, draft: catalogue.ReviewDraft
    ) -> catalogue.Review:
        """Store a review; raises UnknownProductError, NotReceivedError or AlreadyReviewedError."""
        if await self.store.find(product_id) is None:
            raise UnknownProductError("there is no such product")
        if not await self.review_store.has_received(product_id, user_id):
            raise NotReceivedError("only who received the product may review it")
        review = Review(
            review_id=ids.new_id("review"),
            product_id=product_id,
            user_id=user_id,
            rating=draft.rating,
            title=draft.title,
            text=draft.text,
            author=await self.users.author(user_id) or reviews.NAMELESS,
            written_at=products.to_millis(self.now()),
        )
        await self.review_store.add(review)
        return reviews.show(review)

    async def change(
        self, product_id: str, user_id: str, draft: catalogue.ReviewDraft
    ) -> catalogue.Review:
        """Replace a buyer's review; raises UnknownProductError or UnknownReviewError."""
        now = products.to_millis(self.now())
        stored = await self.review_store.replace(
            Review(
                review_id="",
                product_id=product_id,
                user_id=user_id,
                rating=draft.rating,
                title=draft.title,
                text=draft.text,
                author="",
                written_at=now,
                changed_at=now,
            )
        )
        return reviews.show(stored)

    async def remove(self, product_id: str, user_id: str) -> None:
        """Delete a buyer's review; raises UnknownProductError or UnknownReviewError."""
        await self.review_store.remove(product_id, user_id)

    async def page(
        self, product_id: str, *, offset: int, limit: int
    ) -> tuple[list[catalogue.Review], catalogue.RatingSummary]:
        """Return a page of reviews, newest first, and the stars of all; raises UnknownProductError."""
        product = await self.store.find(product_id)
        if product is None:
            raise UnknownProductError("there is no such product")
        found = await self.review_store.page(product_id, offset=offset, limit=limit)
        return [reviews.show(review) for review in found], products.summary(product.rating)

    async def take_in(self, deliveries: list[consumer.Delivery]) -> None:
        """Learn from orders who received what."""
        receipts = [reviews.receipt_of(delivery.event) for delivery in deliveries]
        await self.review_store.take_receipts([found for found in receipts if found is not None])
