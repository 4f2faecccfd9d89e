"""A checkout with everything around it in memory and every clock in the test's hand."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from doorbuster.checkout.domain.totals import Terms
from doorbuster.checkout.usecases.board import SalesBoard
from doorbuster.checkout.usecases.check_out import CheckOut, Limits
from doorbuster.checkout.usecases.discounting import Discounting
from doorbuster.checkout.usecases.particulars import Particulars
from doorbuster.checkout.usecases.quotes import QuoteBoard
from doorbuster.contracts import api
from doorbuster.kit import ids
from doorbuster.testing.discounts import FakeAddresses, FakeCarts, FakeCatalogue
from doorbuster.testing.shelf import (
    FakeInventory,
    FakeLocks,
    FakePlacedOrders,
    build_item,
    build_sale,
)
from doorbuster.testing.waiting_room import FakeWaitingRooms

OPENS = datetime(2026, 1, 1, 12, tzinfo=UTC)
PHONE = ids.product_id("phone")
PRICE = Decimal("99.90")


@dataclass
class Clocks:
    """The authority's clock and our monotonic one, moved together."""

    now: datetime = OPENS + timedelta(seconds=1)
    monotonic: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


class World:
    """Checkout, its board, the shelf and the store."""

    def __init__(self, *sales, limits: Limits | None = None, terms: Terms | None = None) -> None:
        self.clocks = Clocks()
        self.inventory = FakeInventory(lambda: self.clocks.now, *(sales or (build_sale(OPENS),)))
        self.permits = self.inventory.permits
        self.locks = FakeLocks()
        self.rooms = FakeWaitingRooms(lambda: self.clocks.now)
        for product_id, stock in self.inventory.units.items():
            self.permits.load(product_id, epoch=stock.epoch, permits=stock.available)
        self.store = FakePlacedOrders()
        self.discounts = self.store.discounts
        self.catalogue, self.carts, self.addresses = FakeCatalogue(), FakeCarts(), FakeAddresses()
        self.terms = terms or Terms()
        self.limits = limits or Limits(per_product=2_000, direct=512)
        self.restart()

    def restart(self) -> None:
        """Begin a new process: what was in memory is gone."""
        self.board = SalesBoard(self.inventory, lambda: self.clocks.monotonic)
        self.discounting = Discounting(
            store=self.discounts, inventory=self.inventory, now=lambda: self.clocks.now
        )
        self.checkout = CheckOut(
            board=self.board,
            quotes=QuoteBoard(self.catalogue, lambda: self.clocks.monotonic),
            particulars=Particulars(
                carts=self.carts,
                addresses=self.addresses,
                discounts=self.discounts,
                terms=self.terms,
                now=lambda: self.clocks.now,
            ),
            permits=self.permits,
            locks=self.locks,
            rooms=self.rooms,
            inventory=self.inventory,
            store=self.store,
            limits=self.limits,
            now=lambda: self.clocks.now,
            monotonic=lambda: self.clocks.monotonic,
            sleep=self.clocks.sleep,
        )

    async def buy(self, user="user_1", key="key-1", *, wish=None, **line):
        return await self.checkout.check_out(user, wish or buy(**line), key)


def buy(product_id=PHONE, quantity=1, price=PRICE, **more) -> api.Checkout:
    """A request for one phone."""
    line = api.CheckoutLine(product_id=product_id, quantity=quantity, price=price)
    return api.Checkout(products=[line], **more)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world():
    return World


@pytest.fixture
def wish():
    return buy


@pytest.fixture
def item():
    return build_item


@pytest.fixture
def sale():
    return lambda *items, **changed: build_sale(changed.pop("opens", OPENS), *items, **changed)
