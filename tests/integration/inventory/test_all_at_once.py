"""Every transition of the ledger at once, products in any order: nobody waits in a circle, no unit is lost."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from doorbuster.contracts import control, internal
from doorbuster.inventory import domain
from doorbuster.inventory.storage import StoreAwayError
from doorbuster.kit import ids

SECONDS = 6.0
CLIENTS = 9
MOST_LINES = 4


class Storm:
    """Clients that do anything at any time, and what they know of the orders they made."""

    def __init__(self, copies, sku: str, seed: int) -> None:
        self.copies = copies
        self.random = random.Random(seed)
        self.products = [f"{sku}-{letter}" for letter in "abcdef"]
        # Two sales of two products each; the last two products are sold to ordinary buyers.
        self.sale_of = {
            self.products[0]: f"{sku}-one",
            self.products[2]: f"{sku}-one",
            self.products[1]: f"{sku}-two",
            self.products[3]: f"{sku}-two",
        }
        self.lines: dict[str, Counter[str]] = {}
        self.generations: defaultdict[str, int] = defaultdict(lambda: 1)
        self.done: Counter[str] = Counter()
        self.deadlocks: list[str] = []
        self._number = 0

    async def prepare(self) -> None:
        for name in self.products:
            await self.copies[0].pool(name, 30)
        for uid in sorted(set(self.sale_of.values())):
            await self._put_sale(self.copies[0], uid)

    async def _put_sale(self, copy, uid: str) -> None:
        names = [name for name, sale in self.sale_of.items() if sale == uid]
        self.random.shuffle(names)
        self.generations[uid] += 1
        opens = datetime.now(UTC) - timedelta(minutes=1)  # noqa: TID251 - the tests' own clock
        gate = control.SaleGate(
            namespace="shop",
            name=uid,
            generation=self.generations[uid],
            fence=copy.fence,
            state="Active",
            open_time=opens,
            close_time=opens + timedelta(hours=1),
            reservation_timeout_seconds=60,
            items=[
                control.SaleItem(sku=name, price_minor=100, currency="EUR", per_user_limit=1000)
                for name in names
            ],
        )
        await copy.room.put_sale(uid, gate)

    async def run(self, copy, until: float) -> None:
        moves = (
            *[self.reserve] * 6,
            *[self.pin] * 4,
            *[self.confirm] * 3,
            *[self.decline] * 2,
            self.take_back,
            *[self.expire] * 2,
            self.bury,
            self.put_pool,
            self.put_sale,
            self.sweep,
        )
        while time.monotonic() < until:
            move = self.random.choice(moves)
            try:
                await move(copy)
                self.done[move.__name__] += 1
            except domain.ControlError:
                self.done[f"{move.__name__} refused"] += 1
            except StoreAwayError as error:
                if isinstance(error.__cause__, asyncpg.DeadlockDetectedError):
                    self.deadlocks.append(f"{move.__name__}: {error.__cause__.detail}")
                self.done[f"{move.__name__} away"] += 1

    def _line(self, name: str, quantity: int) -> internal.ReserveLine:
        sale = self.sale_of.get(name)
        return internal.ReserveLine(
            product_id=ids.product_id(name),
            quantity=quantity,
            price_minor=None if sale is None else 100,
            currency=None if sale is None else "EUR",
            sale_uid=sale,
        )

    def _some(self, most: int = 12) -> list[str]:
        known = list(self.lines)
        return self.random.sample(known, min(len(known), self.random.randint(1, most)))

    def _attempts(self) -> list[internal.Attempt]:
        return [internal.Attempt(order_id=order, attempt=1) for order in self._some()]

    async def reserve(self, copy) -> None:
        items = []
        for _ in range(self.random.randint(1, 8)):
            self._number += 1
            order = f"{self.products[0]}-{self._number}"
            names = self.random.sample(self.products, self.random.randint(1, MOST_LINES))
            wanted = Counter({name: self.random.randint(1, 2) for name in names})
            self.lines[order] = wanted
            lines = [self._line(name, quantity) for name, quantity in wanted.items()]
            items.append(copy.item(order, *lines, user=f"user_{self.random.randint(1, 5)}"))
        for one in await copy.ledger.reserve(items):
            self.done[one.outcome] += 1

    async def pin(self, copy) -> None:
        asked = [internal.PinItem(order_id=order, attempt=1) for order in self._some()]
        for result in await copy.ledger.pin(asked):
            self.done[result.outcome] += 1

    async def confirm(self, copy) -> None:
        await copy.ledger.confirm(self._attempts())

    async def decline(self, copy) -> None:
        await copy.ledger.decline(self._attempts())

    async def take_back(self, copy) -> None:
        await copy.ledger.take_back(self._attempts())

    async def expire(self, copy) -> None:
        await copy.row(
            "UPDATE reservation SET expires_at = clock_timestamp() WHERE order_id = ANY ($1)"
            " AND state = 'HELD'",
            self._some(1),
        )
        await copy.ledger.expire_holds(200)

    async def bury(self, copy) -> None:
        await copy.ledger.bury(self._some())

    async def put_pool(self, copy) -> None:
        name = self.random.choice(self.products)
        self.generations[name] += 1
        await copy.pool(
            name, self.random.randint(10, 60), generation=self.generations[name], fence=copy.fence
        )

    async def put_sale(self, copy) -> None:
        await self._put_sale(copy, self.random.choice(list(self.sale_of.values())))

    async def sweep(self, copy) -> None:
        await copy.stock.note_sold_out([ids.product_id(name) for name in self.products])
        await copy.returns.step()


async def check(storm: Storm) -> None:
    """Compare counters, ledger, sales, buyers and what was asked for; all clients are still."""
    shop = storm.copies[0]
    for name in storm.products:
        if name in storm.sale_of:
            await shop.counters(name)
        else:
            await shop.counters_of_pool(name)
    connection = await asyncpg.connect(shop.dsn)
    try:
        rows = await connection.fetch(
            "SELECT r.order_id, r.state, l.product_id, l.qty"
            " FROM reservation r LEFT JOIN reservation_line l USING (order_id)"
            " WHERE r.order_id LIKE $1 || '%'",
            storm.products[0],
        )
    finally:
        await connection.close()
    stored: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        stored[row["order_id"]]
        if row["product_id"] is not None:
            stored[row["order_id"]][row["product_id"]] = row["qty"]
    tombs = {row["order_id"] for row in rows if row["state"] == "TOMB"}
    assert stored
    for order, lines in stored.items():
        wanted = {ids.product_id(name): units for name, units in storm.lines[order].items()}
        assert lines == ({} if order in tombs else wanted), order


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_transitions_at_once_never_wait_in_a_circle_and_lose_nothing(copies, sku, seed):
    storm = Storm(copies, sku, seed)
    await storm.prepare()
    # Until it was a storm: everything happened, and orders got units and were refused them.
    awaited = {"HELD", "WAITING", "PINNED", "confirm", "take_back", "put_sale", "put_pool"}
    async with asyncio.timeout(120):
        for _ in range(100):
            until = time.monotonic() + SECONDS
            await asyncio.gather(*(storm.run(copies[n % 3], until) for n in range(CLIENTS)))
            if storm.done.keys() >= awaited:
                break
    assert storm.deadlocks == []
    await check(storm)
    assert storm.done.keys() >= awaited, storm.done


async def test_orders_of_the_same_products_in_both_directions_pass_each_other(copies, sku):
    red, blue, green = (f"{sku}-{colour}" for colour in ("red", "blue", "green"))
    for name in (red, blue, green):
        await copies[0].pool(name, 3_000)
        await copies[0].sale(name)
    directions = ((red, blue, green), (green, blue, red), (blue, green, red), (green, red, blue))

    async def client(number: int) -> Counter[str]:
        copy, found = copies[number % 3], Counter()
        for turn in range(25):
            lines = [copy.line(name) for name in directions[(number + turn) % len(directions)]]
            order = f"{sku}-{number}-{turn}"
            for one in await copy.ledger.reserve([copy.item(order, *lines)]):
                found[one.outcome] += 1
            if turn % 3 == 0:
                await copy.ledger.decline([internal.Attempt(order_id=order, attempt=1)])
        return found

    answers = await asyncio.gather(*(client(number) for number in range(12)))
    assert sum(answers, Counter()) == {"HELD": 12 * 25}
    for name in (red, blue, green):
        assert await copies[0].counters(name) == (2_700, 300, 0)


async def test_a_crowd_for_three_products_takes_whole_orders_only(copies, sku):
    """Buyers of one to three products with permits; few units of each: all of them go, none is held in part."""
    names = [f"{sku}-{letter}" for letter in "abc"]
    units = {names[0]: 5, names[1]: 7, names[2]: 4}
    for name in names:
        await copies[0].pool(name, units[name])
        await copies[0].sale(name)
    dice = random.Random(5)
    baskets = {f"{sku}-{number}": dice.sample(names, dice.randint(1, 3)) for number in range(120)}

    async def buy(order: str) -> str:
        return (await dice.choice(copies).buy_all(baskets[order], order)).outcome

    async with asyncio.timeout(120):
        for _ in range(40):  # whoever waits asks again with the same key, in another turn
            turn = dice.sample(list(baskets), len(baskets))
            found = await asyncio.gather(*(buy(order) for order in turn))
            answers = dict(zip(turn, found, strict=True))
            for copy in copies:
                await copy.settle()
            counters = {name: await copies[0].counters(name) for name in names}
            left = {name for name in names if counters[name][0]}
            held = [order for order, answer in answers.items() if answer == "HELD"]
            if not any(set(baskets[order]) <= left for order in baskets if order not in held):
                break
        else:
            pytest.fail("somebody waits for an order whose products are all there")
    assert set(answers.values()) <= {"HELD", "WAITING"}
    taken = Counter(name for order in held for name in baskets[order])
    for name in names:
        assert counters[name] == (units[name] - taken[name], taken[name], 0)
        assert await copies[0].permits_left(name) == (units[name] - taken[name], 0)
    connection = await asyncpg.connect(copies[0].dsn)
    try:
        lines = await connection.fetch(
            "SELECT order_id, array_agg(product_id) AS products FROM reservation_line"
            " WHERE order_id LIKE $1 || '-%' GROUP BY order_id",
            sku,
        )
    finally:
        await connection.close()
    whole = {row["order_id"]: set(row["products"]) for row in lines}
    assert whole == {order: {ids.product_id(n) for n in baskets[order]} for order in held}


async def test_a_permit_of_an_order_that_died_before_its_next_permit_comes_back(copies, sku):
    shop = copies[0]
    first, second = sorted((f"{sku}-a", f"{sku}-b"), key=ids.product_id)
    for name in (first, second):
        await shop.pool(name, 1)
        await shop.sale(name)
    # The buyer's process took the first permit and died: no permit of the second, no reserve.
    await shop.permit(first, f"{sku}-dead")
    assert (await shop.buy_all([first, second], f"{sku}-other")).outcome == "WAITING"
    await shop.settle()
    assert await shop.permits_left(second) == (1, 0)
    async with asyncio.timeout(20):
        while (await shop.permits_left(first))[1] > 0:
            await asyncio.gather(*(copy.permits.step() for copy in copies))
            await asyncio.sleep(0.02)
    assert await shop.permits_left(first) == (1, 0)
    assert (await shop.buy_all([first, second], f"{sku}-other")).outcome == "HELD"
    assert (await shop.buy_all([first, second], f"{sku}-dead")).outcome == "RELEASED"


async def test_the_storm_finds_locks_that_are_taken_out_of_order(copies, sku):
    connection = await asyncpg.connect(copies[0].dsn)
    try:
        right = await connection.fetchval("SELECT pg_get_functiondef('lock_products_of'::regproc)")
        wrong = right.replace("ORDER BY product_id", "ORDER BY product_id DESC")
        assert wrong != right
        storm = Storm(copies, sku, 3)
        await storm.prepare()
        await connection.execute(wrong)
        try:
            async with asyncio.timeout(60):
                while not storm.deadlocks:
                    until = time.monotonic() + 1.0
                    await asyncio.gather(
                        *(storm.run(copies[n % 3], until) for n in range(CLIENTS))
                    )
        finally:
            await connection.execute(right)
        await check(storm)
    finally:
        await connection.close()
