"""Tickets of pictures in MongoDB: claimed by putting their appointment off, ended by compare-and-set."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReturnDocument

from doorbuster.kit import mongo
from doorbuster.product.domain.pictures import (
    CLAIM,
    REFUSALS_KEPT,
    State,
    Ticket,
    TooManyImagesError,
    UnknownImageError,
)
from doorbuster.product.domain.products import Picture, UnknownProductError

from .products import removal
from .schema import PRODUCTS, TICKETS, from_document, to_document

READ_SECONDS = 2.0
WRITE_SECONDS = 4.0


class MongoTicketStore:
    """The tickets of one database."""

    def __init__(self, database: mongo.Database) -> None:
        self._database = database
        self._tickets = database[TICKETS]
        self._products = database[PRODUCTS]

    async def open(self, ticket: Ticket, *, most: int) -> None:
        """Store a ticket unless the product has ``most`` pictures with those under way.

        Raises UnknownProductError or TooManyImagesError.
        """

        async def work(session: mongo.Session) -> None:
            # Changes nothing, but whoever opens another ticket at the same time waits for us.
            product = await self._products.find_one_and_update(
                {"_id": ticket.product_id},
                {"$inc": {"version": 1}},
                {"images.imageId": 1},
                session=session,
            )
            if product is None:
                raise UnknownProductError("there is no such product")
            waiting = await self._tickets.count_documents(
                {"productId": ticket.product_id, "state": State.WAITING}, session=session
            )
            if waiting + len(product["images"]) >= most:
                raise TooManyImagesError(f"a product has at most {most} pictures")
            await self._tickets.insert_one(to_document(ticket), session=session)

        await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)

    async def find(self, product_id: str, image_id: str) -> Ticket | None:
        """Return a ticket of a product."""
        with mongo.within(READ_SECONDS):
            document = await self._tickets.find_one({"_id": image_id, "productId": product_id})
        return None if document is None else from_document(document, Ticket)

    async def claim_due(self, now: datetime) -> Ticket | None:
        """Return the ticket that is due the longest and put it off, so that no other copy takes it."""
        with mongo.within(WRITE_SECONDS):
            document = await self._tickets.find_one_and_update(
                {"dueAt": {"$lte": now}},
                {"$set": {"dueAt": now + CLAIM}},
                sort=[("dueAt", 1)],
                return_document=ReturnDocument.AFTER,
            )
        return None if document is None else from_document(document, Ticket)

    async def put_off(self, image_id: str, until: datetime) -> None:
        """Look at a ticket again then."""
        with mongo.within(WRITE_SECONDS):
            await self._tickets.update_one({"_id": image_id}, {"$set": {"dueAt": until}})

    async def name_objects(self, image_id: str, names: list[str]) -> bool:
        """Remember which objects are about to be stored; false when the picture is not wanted any more."""
        with mongo.within(WRITE_SECONDS):
            done = await self._tickets.update_one(
                {"_id": image_id, "state": State.WAITING},
                {"$addToSet": {"objects": {"$each": names}}},
            )
        return done.matched_count == 1

    async def show(self, ticket: Ticket, picture: Picture, now: datetime) -> bool:
        """Give the product its picture and leave the original to be deleted; false when nobody wants it any more."""

        async def work(session: mongo.Session) -> bool:
            waiting = await self._tickets.update_one(
                {"_id": ticket.image_id, "state": State.WAITING},
                {"$set": {"state": State.ADDED, "objects": [ticket.original], "dueAt": now}},
                session=session,
            )
            if waiting.matched_count == 0:
                return False
            await self._products.update_one(
                {"_id": ticket.product_id},
                {"$push": {"images": to_document(picture)}, "$inc": {"version": 1}},
                session=session,
            )
            return True

        return await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)

    async def refuse(self, image_id: str, reason: str, now: datetime) -> None:
        """End an upload that is no picture for us; its objects go next."""
        with mongo.within(WRITE_SECONDS):
            await self._tickets.update_one(
                {"_id": image_id, "state": State.WAITING},
                {"$set": {"state": State.REFUSED, "reason": reason, "dueAt": now}},
            )

    async def close(self, ticket: Ticket, now: datetime) -> None:
        """Forget a ticket whose objects are gone; a refusal can be read for a day more."""
        with mongo.within(WRITE_SECONDS):
            mine = {"_id": ticket.image_id, "state": ticket.state}
            if ticket.state is State.REFUSED:
                change: dict[str, Any] = {
                    "dueAt": None,
                    "objects": [],
                    "forgetAt": now + REFUSALS_KEPT,
                }
                await self._tickets.update_one(mine, {"$set": change})
            else:
                await self._tickets.delete_one(mine)

    async def remove(self, product_id: str, image_id: str, now: datetime) -> None:
        """Take a picture, shown or under way, from its product; raises UnknownImage… or UnknownProductError."""

        async def work(session: mongo.Session) -> None:
            product = await self._products.find_one_and_update(
                {"_id": product_id},
                {"$pull": {"images": {"imageId": image_id}}, "$inc": {"version": 1}},
                {"images": 1},
                session=session,
            )
            if product is None:
                raise UnknownProductError("there is no such product")
            shown = [image for image in product["images"] if image["imageId"] == image_id]
            if shown:
                doomed = removal(product_id, from_document(shown[0], Picture), now)
                await self._tickets.bulk_write([doomed], session=session)
                return
            # Whoever works on it now has its objects stored before they are looked for.
            under_way = await self._tickets.update_one(
                {"_id": image_id, "productId": product_id, "state": State.WAITING},
                {"$set": {"state": State.REMOVED, "dueAt": now + CLAIM}},
                session=session,
            )
            if under_way.matched_count == 0:
                raise UnknownImageError("the product has no such picture")

        await mongo.transact(self._database, work, within_seconds=WRITE_SECONDS)

    async def under_way(self, image_ids: Sequence[str]) -> set[str]:
        """Return those of these pictures that somebody still has work with."""
        wanted = {"_id": {"$in": list(image_ids)}, "dueAt": {"$ne": None}}
        with mongo.within(READ_SECONDS):
            return {found["_id"] async for found in self._tickets.find(wanted, {"_id": 1})}

    async def overdue(self, now: datetime) -> timedelta:
        """Return for how long the oldest ticket has been due."""
        with mongo.within(READ_SECONDS):
            oldest = await self._tickets.find_one(
                {"dueAt": {"$lte": now}}, {"dueAt": 1}, sort=[("dueAt", 1)]
            )
        return timedelta(0) if oldest is None else now - oldest["dueAt"]
