"""Pictures: tickets for merchants, and the worker that makes of an upload what the public sees."""

from dataclasses import dataclass

from doorbuster.contracts import catalogue
from doorbuster.kit import clock, failpoints, ids, workers
from doorbuster.product.domain import pictures
from doorbuster.product.domain.pictures import BadPictureError, State, Ticket, UnknownImageError
from doorbuster.product.domain.products import Picture, Shelf, UnknownProductError, to_millis
from doorbuster.product.ports import ObjectStore, ProductStore, Studio, TicketStore

WORKER = workers.Worker(
    "pictures",
    outcomes=("shown", "refused", "expired", "removed"),
    reasons=("not_uploaded", "objects_away"),
)


@dataclass(frozen=True, kw_only=True)
class Illustrate:
    """The use cases around pictures."""

    store: ProductStore
    tickets: TicketStore
    objects: ObjectStore
    studio: Studio
    shelf: Shelf
    now: clock.Clock = clock.utc_now

    async def open_ticket(
        self, product_id: str, upload: catalogue.ImageUpload
    ) -> catalogue.ImageTicket:
        """Return where to upload; raises UnknownProduct…, TooManyImages… or, without S3, ConnectionError."""
        ticket = pictures.new_ticket(
            ids.new_id("img"),
            product_id,
            content_type=upload.content_type,
            size=upload.size,
            alt=upload.alt,
            now=to_millis(self.now()),
        )
        url, fields = await self.objects.sign_upload(ticket)
        await self.tickets.open(ticket, most=catalogue.MAX_IMAGES)
        return catalogue.ImageTicket(
            image_id=ticket.image_id, url=url, fields=fields, expires_at=ticket.expires_at
        )

    async def status(self, product_id: str, image_id: str) -> catalogue.ImageStatus:
        """Return how far a picture is; raises UnknownProductError or UnknownImageError."""
        # First: when it ends, the product has the picture.
        ticket = await self.tickets.find(product_id, image_id)
        product = await self.store.find(product_id)
        if product is None:
            raise UnknownProductError("there is no such product")
        for picture in product.images:
            if picture.image_id == image_id:
                return catalogue.ImageStatus(
                    image_id=image_id, state="ready", image=self.shelf.image(picture)
                )
        match ticket.state if ticket is not None else None:
            case State.WAITING:
                return catalogue.ImageStatus(image_id=image_id, state="waiting")
            case State.REFUSED if ticket is not None:
                return catalogue.ImageStatus(
                    image_id=image_id, state="refused", reason=ticket.reason
                )
            case _:
                raise UnknownImageError("the product has no such picture")

    async def remove(self, product_id: str, image_id: str) -> None:
        """Take a picture from its product; raises UnknownProductError or UnknownImageError."""
        await self.tickets.remove(product_id, image_id, to_millis(self.now()))

    async def step(self) -> bool:
        """End one ticket that is due, or put it off; false when none is."""
        now = to_millis(self.now())
        ticket = await self.tickets.claim_due(now)
        if ticket is None:
            return False
        try:
            if ticket.state is State.WAITING:
                await self._look_for_upload(ticket)
            else:
                await self._sweep(ticket)
        except ConnectionError:
            WORKER.postponed("objects_away")
            raise
        return True

    async def _look_for_upload(self, ticket: Ticket) -> None:
        now = to_millis(self.now())
        size = await self.objects.size(ticket.original)
        if size is None and not pictures.is_over(ticket, now):
            await self.tickets.put_off(ticket.image_id, pictures.look_again_at(ticket, now))
            WORKER.postponed("not_uploaded")
        elif size is None:
            await self.tickets.refuse(ticket.image_id, "nothing was uploaded in time", now)
            WORKER.repaired("expired")
        else:
            try:
                await self._develop(ticket, size)
            except BadPictureError as error:
                await self.tickets.refuse(ticket.image_id, str(error), to_millis(self.now()))
                WORKER.repaired("refused")

    async def _develop(self, ticket: Ticket, size: int) -> None:
        if size > ticket.size:
            raise BadPictureError(f"the file has more than the {ticket.size} bytes that were said")
        data = await self.objects.read(ticket.original)
        made = await self.studio.develop(data, ticket.content_type)
        picture = Picture(
            image_id=ticket.image_id,
            large=pictures.public_name(ticket.image_id, made.large),
            thumbnail=pictures.public_name(ticket.image_id, made.thumbnail),
            width=made.large.width,
            height=made.large.height,
            alt=ticket.alt,
        )
        names = [picture.large, picture.thumbnail]
        if not await self.tickets.name_objects(ticket.image_id, names):
            return  # removed meanwhile: its own ticket sweeps
        await self.objects.publish(picture.large, made.large.data)
        await self.objects.publish(picture.thumbnail, made.thumbnail.data)
        failpoints.reach("product.picture.published")
        if await self.tickets.show(ticket, picture, to_millis(self.now())):
            WORKER.repaired("shown")

    async def _sweep(self, ticket: Ticket) -> None:
        for name in ticket.objects:
            await self.objects.delete(name)
        await self.tickets.close(ticket, to_millis(self.now()))
        if ticket.state is State.REMOVED:
            WORKER.repaired("removed")

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest ticket has been due."""
        return (await self.tickets.overdue(self.now())).total_seconds()
