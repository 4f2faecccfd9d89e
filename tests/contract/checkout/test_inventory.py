"""What checkout relies on in inventory, kept by the shelf's fake and by the real service over HTTP."""

import asyncio
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from doorbuster.checkout.clients import open_inventory
from doorbuster.contracts import control, internal
from doorbuster.kit import auth, client, ids
from doorbuster.testing.shelf import FakeInventory, build_item, build_sale

WITHIN_SECONDS = 20.0
HOLD_SECONDS = 60


def now():
    return datetime.now(UTC)  # noqa: TID251 - the real service keeps the machine's clock


class Aisle:
    """One sale of one product on some inventory."""

    def __init__(self, inventory, sku, sale, item) -> None:
        self.inventory, self.sku, self.sale, self.item = inventory, sku, sale, item
        self.product = ids.product_id(sku)

    def order_id(self, user, key="key"):
        return ids.order_id(f"{self.sku}{user}", key)

    async def reserve(self, user, key="key", *, request_hash="h", **line):
        wanted = {
            "product_id": self.product,
            "quantity": 1,
            "price_minor": self.item.price_minor,
            "currency": self.item.currency,
            "sale_uid": self.sale.uid,
        }
        item = internal.ReserveItem(
            order_id=self.order_id(user, key),
            user_id=f"{self.sku}{user}",
            request_hash=request_hash,
            topic="orders",
            lines=[internal.ReserveLine(**(wanted | line))],
        )
        return (await self.inventory.reserve(item)).result

    async def judge(self, user, key="key", *, epoch=None, quantity=1, request_hash="h"):
        item = internal.JudgeItem(
            order_id=self.order_id(user, key),
            user_id=f"{self.sku}{user}",
            request_hash=request_hash,
            product_id=self.product,
            quantity=quantity,
            sale_uid=self.sale.uid,
            epoch=self.item.epoch if epoch is None else epoch,
        )
        return await self.inventory.judge(item)

    async def pin(self, user, attempt):
        item = internal.PinItem(order_id=self.order_id(user), attempt=attempt)
        return (await self.inventory.pin(item)).outcome


def _fake(sku, units, opens, state, hold_seconds):
    sale = build_sale(
        opens,
        build_item(sku, available=units),
        state=state,
        reservation_timeout_seconds=hold_seconds,
    )
    return Aisle(FakeInventory(now, sale), sku, sale, sale.items[0])


async def _real(operator, inventory, sku, units, opens, state, hold_seconds):
    async def ask(method, path, answer, body):
        return await operator.call(method, f"/control/v1/{path}", answer, body=body)

    lease = control.FenceRequest(lease_namespace="t", lease_name=sku, holder="test")
    fence = (await ask("POST", "fences", control.Fence, lease)).fence
    pool = control.PoolSpec(capacity=units, owner_uid=sku, generation=1, fence=fence)
    await ask("PUT", f"pools/{sku}", control.PoolState, pool)
    gate = control.SaleGate(
        namespace="t",
        name=sku,
        generation=1,
        fence=fence,
        state=state,
        open_time=opens,
        close_time=opens + timedelta(minutes=10),
        reservation_timeout_seconds=hold_seconds,
        items=[control.SaleItem(sku=sku, price_minor=9_990, currency="EUR")],
    )
    await ask("PUT", f"sales/{sku}", control.SaleState, gate)
    deadline = asyncio.get_running_loop().time() + WITHIN_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for sale in (await inventory.sales()).sales:
            if sale.uid == sku:
                return Aisle(inventory, sku, sale, sale.items[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the sale is not listed")


@pytest.fixture(params=["fake", "real"])
async def aisle(request, servers, stack):
    """``await aisle(units)`` -> a sale of a new sku that opened a minute ago."""
    sku = f"t-{secrets.token_hex(6)}"
    real = servers("inventory") if request.param == "real" else {}

    async def build(units, *, opens_in=-60.0, state="Active", hold_seconds=HOLD_SECONDS):
        opens = now() + timedelta(seconds=opens_in)
        if not real:
            return _fake(sku, units, opens, state, hold_seconds)
        return await _real(operator, inventory, sku, units, opens, state, hold_seconds)

    if not real:
        yield build
        return
    keys = stack.layout.keys
    async with client.open_session() as session:
        operator, checkout = (
            client.ServiceClient(
                callee="inventory",
                urls=(real["DOORBUSTER_INVENTORY_URLS"],),
                session=session,
                signer=auth.ServiceSigner(name, keys / f"{name}.pem"),
            )
            for name in ("operator", "checkout")
        )
        async with open_inventory(checkout) as inventory:
            yield build


async def test_as_many_are_held_as_there_are_units(aisle):
    shop = await aisle(5)
    results = await asyncio.gather(*(shop.reserve(user) for user in range(40)))
    assert Counter(result.outcome for result in results) == {"HELD": 5, "WAITING": 35}
    held = next(result for result in results if result.outcome == "HELD")
    assert abs((held.pay_by - now()).total_seconds() - HOLD_SECONDS) < 10


async def test_an_order_that_is_held_stays_the_same(aisle):
    shop = await aisle(1)
    first = await shop.reserve(1)
    again = await asyncio.gather(*(shop.reserve(1) for _ in range(10)))
    assert all(result == first for result in again)
    assert (await shop.judge(1)).result.outcome == "HELD"
    assert (await shop.judge(1)).result.pay_by == first.pay_by


async def test_another_body_under_the_same_order_is_refused(aisle):
    shop = await aisle(2)
    await shop.reserve(1)
    assert (await shop.reserve(1, request_hash="other")).outcome == "KEY_REUSED"
    assert (await shop.judge(1, request_hash="other")).result.outcome == "KEY_REUSED"


async def test_a_missing_permit_is_judged(aisle):
    shop = await aisle(1)
    await shop.reserve(1)
    verdict = await shop.judge(2)
    assert (verdict.result.outcome, verdict.result.product_id) == ("WAITING", shop.product)
    assert verdict.owners is None


async def test_more_than_there_will_ever_be_is_sold_out_and_names_the_owners(aisle):
    shop = await aisle(2)
    await shop.reserve(1)
    verdict = await shop.judge(2, quantity=3)
    assert verdict.result.outcome == "SOLD_OUT"
    assert verdict.owners == {shop.order_id(1)}


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"price_minor": 1}, "PRICE_CHANGED"),
        ({"quantity": 2}, "USER_LIMIT"),
        ({"epoch": 4_000}, "STALE_EPOCH"),
    ],
)
async def test_what_does_not_fit_is_refused(aisle, changed, outcome):
    shop = await aisle(5)
    result = await shop.reserve(1, **changed)
    assert (result.outcome, result.product_id) == (outcome, shop.product)
    assert (await shop.reserve(1)).outcome == "HELD", "a refusal is not stored"


async def test_a_judgement_of_another_epoch_is_stale(aisle):
    shop = await aisle(5)
    assert (await shop.judge(1, epoch=4_000)).result.outcome == "STALE_EPOCH"


async def test_the_limit_counts_other_orders(aisle):
    shop = await aisle(5)
    await shop.reserve(1)
    assert (await shop.reserve(1, "another key")).outcome == "USER_LIMIT"
    assert (await shop.judge(1, "another key")).result.outcome == "USER_LIMIT"
    assert (await shop.judge(2)).result.outcome == "WAITING"


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ({"opens_in": 30.0}, "NOT_OPEN"),
        ({"state": "Suspended"}, "SUSPENDED"),
        ({"state": "Cancelled"}, "CLOSED"),
    ],
)
async def test_a_gate_that_is_shut(aisle, gate, outcome):
    shop = await aisle(5, **gate)
    assert (await shop.reserve(1)).outcome == outcome
    assert await shop.inventory.reservation(shop.order_id(1)) is None


async def test_a_pin_is_for_one_attempt(aisle):
    shop = await aisle(1)
    await shop.reserve(1)
    assert [await shop.pin(1, attempt) for attempt in (1, 1, 2)] == [
        "PINNED",
        "PINNED",
        "CONFLICT",
    ]
    found = await shop.inventory.reservation(shop.order_id(1))
    assert (found.state, found.attempt) == ("PAYING", 1)
    assert (await shop.reserve(1)).outcome == "PAID"
    assert await shop.pin(2, 1) == "UNKNOWN_ORDER"


async def test_a_hold_that_ran_out_is_released_for_good(aisle):
    shop = await aisle(1, hold_seconds=1)
    held = await shop.reserve(1)
    await asyncio.sleep((held.pay_by - now()).total_seconds() + 0.05)
    assert (await shop.reserve(1)).outcome == "RELEASED"
    assert await shop.pin(1, 1) == "EXPIRED"


async def test_an_order_that_is_refused_lets_go_of_its_hold_for_good(aisle):
    shop = await aisle(1)
    first = await shop.reserve("a")
    assert first.outcome == "HELD"
    for _ in range(2):
        await shop.inventory.let_go(first.order_id)
    assert (await shop.reserve("a")).outcome == "RELEASED"
    assert (await shop.reserve("a", "another key")).outcome == "HELD"
    assert (await shop.reserve("b")).outcome == "WAITING", "the unit came back once"


async def test_nobody_lets_go_of_units_that_are_being_paid_or_were_never_held(aisle):
    shop = await aisle(1)
    held = await shop.reserve("a")
    assert await shop.pin("a", 1) == "PINNED"
    await shop.inventory.let_go(held.order_id)
    await shop.inventory.let_go(shop.order_id("nobody"))
    state = await shop.inventory.reservation(held.order_id)
    assert state is not None
    assert state.state == "PAYING"
    assert await shop.inventory.reservation(shop.order_id("nobody")) is None
