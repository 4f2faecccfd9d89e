"""The sold-out bit: what this process may answer for a moment without asking anybody.

It is set only on a terminal answer, and only together with the ids of every order that owned units of the product
at that instant: their buyers go the full way and get their own order back. It is gone after 250 ms, or as soon as
the product is seen at a newer epoch, so that a restock is seen.
"""

from dataclasses import dataclass

LIFE_SECONDS = 0.25
_MOST_BITS = 1_000


@dataclass(frozen=True, kw_only=True)
class _Bit:
    epoch: int
    owners: frozenset[str]
    until: float


class SoldOutBits:
    """Bits by product and quantity; times are monotonic seconds."""

    def __init__(self) -> None:
        self._bits: dict[tuple[str, int], _Bit] = {}

    def set(
        self,
        product_id: str,
        quantity: int,
        *,
        epoch: int,
        owners: frozenset[str],
        monotonic: float,
    ) -> None:
        """Remember that inventory said SOLD_OUT while exactly ``owners`` had units."""
        if len(self._bits) >= _MOST_BITS:
            self._bits = {key: bit for key, bit in self._bits.items() if bit.until > monotonic}
        if len(self._bits) < _MOST_BITS:
            self._bits[product_id, quantity] = _Bit(
                epoch=epoch, owners=owners, until=monotonic + LIFE_SECONDS
            )

    def covers(
        self, product_id: str, quantity: int, order_id: str, *, epoch: int, monotonic: float
    ) -> bool:
        """Tell whether this order may be told SOLD_OUT at once; ``epoch`` is the newest one seen."""
        bit = self._bits.get((product_id, quantity))
        if bit is None:
            return False
        if bit.until <= monotonic or bit.epoch < epoch:
            del self._bits[product_id, quantity]
            return False
        return order_id not in bit.owners
