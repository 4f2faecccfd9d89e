"""The sweep of uploads that were finished after their tickets had ended: nobody else knows of them any more."""

from dataclasses import dataclass

from doorbuster.kit import clock, workers
from doorbuster.product.domain import pictures
from doorbuster.product.ports import ObjectStore, TicketStore

PAGE = 200
WORKER = workers.Worker("upload_sweep", outcomes=("deleted",), reasons=("objects_away",))


@dataclass(kw_only=True)
class UploadSweep:
    """Walks through the uploads page by page; any number of copies may run, a deletion may come twice."""

    tickets: TicketStore
    objects: ObjectStore
    now: clock.Clock = clock.utc_now
    _after: str = ""

    async def step(self) -> bool:
        """Look at one page and delete its orphans; false at the end of the walk. Raises ConnectionError."""
        try:
            return await self._page()
        except ConnectionError:
            WORKER.postponed("objects_away")
            raise

    async def _page(self) -> bool:
        page = await self.objects.uploads(after=self._after, limit=PAGE)
        now = self.now()
        old = [upload for upload in page if pictures.may_be_orphaned(upload, now)]
        under_way = await self.tickets.under_way([upload.image_id for upload in old])
        for upload in old:
            if upload.image_id not in under_way:
                await self.objects.delete(upload.name)
                WORKER.repaired("deleted")
        is_last = len(page) < PAGE
        self._after = "" if is_last else page[-1].name
        return not is_last
