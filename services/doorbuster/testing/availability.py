"""What is available, without Redis and inventory: tests set it, and let it be away."""

from collections.abc import Iterable, Sequence

from doorbuster.availability import AvailabilityAwayError
from doorbuster.contracts import internal


class FakeAvailability:
    """Answers as AvailabilityCache does; ``is_away`` lets both Redis and inventory be gone."""

    def __init__(self) -> None:
        self.is_away = False
        self._items: dict[str, internal.Availability] = {}

    def set(self, product_id: str, qty: int) -> None:
        """Let a product have ``qty`` units from now on."""
        held = self._items.get(product_id)
        version = held.version + 1 if held else 1
        self._items[product_id] = internal.Availability(
            product_id=product_id, qty=qty, version=version
        )

    async def read(self, product_ids: Sequence[str]) -> dict[str, internal.Availability]:
        """Return what is available; a product nobody set is missing."""
        if self.is_away:
            raise AvailabilityAwayError({})
        return {name: self._items[name] for name in product_ids if name in self._items}

    async def write(self, items: Iterable[internal.Availability]) -> int:
        """Write these down unless a higher version is there."""
        taken = [] if self.is_away else list(items)
        for item in taken:
            held = self._items.get(item.product_id)
            if held is None or held.version <= item.version:
                self._items[item.product_id] = item
        return len(taken)
