"""A small sale on a running stack played by hand: one buyer, one step at a time, and a look at the stores in between.

``Stage`` is the stack and what may be done to its parts; ``Scene`` is one sale of a fresh sku, whose whole history
the checker judges at the end. Every failure is an AssertionError that says what was waited for.
"""

import asyncio
import contextlib
import dataclasses
import pathlib
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psutil

from buyers import checker, enrol, facts, gates, history, manifest, plan, sampler, shop, stores
from devstack import catalogue, process
from devstack.errors import StackError
from devstack.stack import Stack
from doorbuster.kit import failpoints, ids

from . import look

POLL_SECONDS = 0.1
DEATH_SECONDS = 40.0
ANSWER_SECONDS = 60.0
REST_SECONDS = 60.0
CROWD = 24
CAST = 8
COME_AGAIN = frozenset({"WAITING", "SALE_NOT_OPEN", "PAYMENT_IN_PROGRESS"})
UNKNOWN = ""
Seen = TypeVar("Seen")


async def until(
    what: str,
    ask: Callable[[], Awaitable[Seen]],
    is_it: Callable[[Seen], bool],
    *,
    within_seconds: float,
) -> Seen:
    """Ask again and again until the answer is right; a store that is away is asked again, too."""
    deadline = time.monotonic() + within_seconds
    last: object = None
    while True:
        try:
            seen = await ask()
        except look.AWAY as error:
            last = error
        else:
            if is_it(seen):
                return seen
            last = seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_seconds:.0f} s, at last {last!r}")
        await asyncio.sleep(POLL_SECONDS)


class Stage:
    """The running stack, whose parts are started with ``settings``.

    ``close`` brings every part that was meddled with back to its usual self.
    """

    def __init__(
        self,
        stack: Stack,
        settings: Mapping[str, str],
        book: enrol.CredentialBook,
        turns: Iterator[int],
    ) -> None:
        self.stack = stack
        self._settings = settings
        self.environment = stack.env()
        self.stores = look.Stores(self.environment)
        self._book = book
        self._turns = turns
        self._meddled: set[str] = set()
        self._twins: list[process.Identity] = []

    async def arm(self, part: str, *points: str, **settings: str) -> "Life":
        """Start a part anew with failpoints (and other settings) for this one life."""
        self._meddled.add(part)
        armed = {failpoints.VARIABLE: ",".join(points), **self._settings, **settings}
        with contextlib.suppress(StackError):  # it may come to the point while it starts
            await asyncio.to_thread(self.stack.restart, part, armed)
        return Life(self.stack, part, points)

    async def start(self, part: str) -> None:
        """Start a part anew, as it usually is."""
        await asyncio.to_thread(self.stack.restart, part, self._settings)
        self._meddled.discard(part)

    async def stop(self, part: str) -> None:
        """End a part in its orderly way."""
        self._meddled.add(part)
        await asyncio.to_thread(self.stack.stop, part)

    async def kill(self, part: str) -> None:
        """kill -9 of a part with all its workers."""
        self._meddled.add(part)
        await asyncio.to_thread(self.stack.kill, part)

    async def start_twin(self, part: str) -> None:
        """Start a second copy of a service that nobody calls: its background workers are what it is there for."""
        launch = catalogue.all_parts()[part].launch(self.stack.site)
        own = {**self._settings, "DOORBUSTER_PORT": "0", "DOORBUSTER_ADMIN_PORT": "0"}
        layout = self.stack.layout
        twin = await asyncio.to_thread(
            process.start,
            dataclasses.replace(launch, env={**launch.env, **own}),
            run_file=layout.run_file(f"{part}-twin"),
            log_file=layout.log(f"{part}-twin"),
        )
        self._twins.append(twin)

    async def close(self) -> None:
        """End the twins; start again what was killed, armed or stopped."""
        for twin in self._twins:
            await asyncio.to_thread(process.stop, twin, number=signal.SIGTERM, within_seconds=10.0)
        for part in sorted(self._meddled, key=list(catalogue.all_parts()).index):
            await self.start(part)

    @contextlib.asynccontextmanager
    async def sale(
        self, folder: pathlib.Path, *, units: int = 2, hold_seconds: int = 60
    ) -> AsyncIterator["Scene"]:
        """Open a sale of a fresh sku and bring a cast of buyers in; at the end the checker judges it."""
        first = next(self._turns) * CAST % CROWD
        plans = plan.draw_plans(CROWD, seed=1)[first : first + CAST]
        url = self.environment["DOORBUSTER_PUBLIC_URL"]
        entrances = await enrol.enrol(url, plans, self._book)
        key = self.stack.layout.keys / "operator.pem"
        async with gates.gate_keeper(self.environment, key) as keeper:
            wish = gates.Wish(
                name=f"row-{secrets.token_hex(4)}",
                units=units,
                opens_in=0.0,
                hold_seconds=hold_seconds,
            )
            sale = await keeper.open_sale(wish)
            await self._is_shown(sale.path)
            scene = Scene(self, keeper, sale, units, folder / f"{wish.name}.jsonl")
            scene.enter(url, [(each, entrances[each.name]) for each in plans])
            sampling = asyncio.Event()
            looks = asyncio.create_task(
                sampler.sample_until(
                    sampling, self.stores.addresses, scene.product, scene.recorder
                )
            )
            try:
                yield scene
            finally:
                sampling.set()
                await asyncio.wait({looks}, timeout=stores.QUERY_SECONDS)
                scene.leave()

    async def _is_shown(self, path: str) -> None:
        """Wait until checkout, which looks at the sales a few times a second, has seen this one."""
        async with shop.Visitor(self.environment["DOORBUSTER_PUBLIC_URL"], "198.18.255.1") as each:

            async def ask() -> int:
                with contextlib.suppress(shop.NoAnswerError):
                    return (await each.call("GET", f"/v1/sales/{path}")).status
                return 0

            await until("the sale's page", ask, lambda seen: seen == 200, within_seconds=30.0)


@dataclasses.dataclass
class Life:
    """One life of a part with failpoints armed."""

    stack: Stack
    part: str
    points: Sequence[str]
    member: psutil.Process | None = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.member = next(iter(self.stack.processes().get(self.part, ())), None)

    async def died(self) -> None:
        """Wait for the death at the failpoint: the status is the failpoints' own, and the log names it."""
        try:
            status = failpoints.EXIT_STATUS
            if self.member is not None:
                status = await asyncio.to_thread(self.member.wait, DEATH_SECONDS)
        except psutil.TimeoutExpired:
            raise AssertionError(f"{self.part} never came to {self.points}") from None
        assert status == failpoints.EXIT_STATUS, f"{self.part} ended with {status}"
        said = self.stack.log(self.part).read_text(errors="replace")
        assert any(f'"failpoint", "name": "{point}"' in said for point in self.points), said

    async def stopped(self) -> None:
        """Wait until the process stands still at its failpoint."""

        member = self.member
        assert member is not None, f"{self.part} ended while it started"

        async def status() -> str:
            return str(member.status())

        await until(
            f"{self.part} stops at {self.points}",
            status,
            lambda seen: seen == psutil.STATUS_STOPPED,
            within_seconds=DEATH_SECONDS,
        )

    async def go_on(self) -> None:
        """Wake the process that stands still."""
        await asyncio.to_thread(self.stack.kill, self.part, signal.SIGCONT)


class Scene:
    """One sale: its buyers, its history, its product in the stores."""

    def __init__(
        self,
        stage: Stage,
        keeper: gates.GateKeeper,
        sale: manifest.Sale,
        units: int,
        record: pathlib.Path,
    ) -> None:
        self.stage = stage
        self.keeper = keeper
        self.sku = sale.name
        self.units = units
        self.product = ids.product_id(sale.name)
        self.recorder = history.Recorder(record)
        self.buyers: list[Buyer] = []
        self._opens_at = sale.opens_at
        self._record = record
        self._left = False
        at, wall = history.now_ms()
        self.recorder.write(
            history.Run(
                seed=0,
                sale=sale.path,
                product=self.product,
                open_ms=int(sale.opens_at * 1000),
                offset_ms=0.0,
                at=at,
                wall=wall,
                units=None,
            )
        )

    def enter(self, url: str, people: Sequence[tuple[plan.Plan, enrol.Entrance]]) -> None:
        """Let the buyers in."""
        for each, entrance in people:
            visitor = shop.Visitor(url, each.address, token=entrance.access_token)
            self.buyers.append(Buyer(self, each.name, entrance.user_id, visitor))
            self.recorder.write(
                history.Enrolled(buyer=each.name, user=entrance.user_id, is_able=True)
            )

    def leave(self) -> None:
        """Close the history: whoever did not buy has left."""
        if not self._left:
            self._left = True
            for buyer in self.buyers:
                self.recorder.ended(buyer.name, "paid" if buyer.has_paid else "left")
                buyer.visitor.close()
            self.recorder.close()

    async def sell_out(self, *, patience_seconds: float = ANSWER_SECONDS) -> None:
        """Let buyers who did nothing yet buy every unit that is left, and one more hear that it is over."""
        deadline = time.monotonic() + patience_seconds
        for buyer in self.buyers:
            if buyer.calls:
                continue
            code = await buyer.press_on(deadline=deadline)
            if code == "SOLD_OUT":
                return
            assert code == "HELD", f"{buyer.name} heard {code}"
            assert await buyer.pay_on(deadline=deadline) == "PAID"
        raise AssertionError("the units do not come to an end")

    async def judge(self, *, rest_seconds: float = REST_SECONDS) -> facts.Snapshot:
        """Sell what is left, wait until the stores are at rest, and have the checker find nothing."""
        await self.sell_out()
        picture = await self.rest(within_seconds=rest_seconds)
        self.leave()
        verdict = checker.check(history.read_history(self._record), picture)
        assert not verdict.violations, "; ".join(verdict.violations)
        assert (verdict.sold, verdict.oversold) == (picture.counters.total, 0)
        assert (verdict.double_orders, verdict.double_charges) == (0, 0)
        return picture

    async def rest(self, *, within_seconds: float = REST_SECONDS) -> facts.Snapshot:
        """Wait until nothing of this sale is in flight; what is still then is in the picture."""
        users = frozenset(buyer.user_id for buyer in self.buyers)
        scope = stores.Scope(product=self.product, users=users, since=self._opens_at - 1.0)
        return await stores.at_rest(self.stage.stores.addresses, scope, within_seconds)


class Buyer:
    """One buyer, recorded: each step is one call and answers its code, UNKNOWN when nobody told."""

    def __init__(self, scene: Scene, name: str, user_id: str, visitor: shop.Visitor) -> None:
        self.scene = scene
        self.name = name
        self.user_id = user_id
        self.visitor = visitor
        self.calls = 0
        self.has_paid = False
        self._press_key = "c1"

    @property
    def order_id(self) -> str:
        """The order of the last press."""
        return ids.order_id(self.user_id, self._key(self._press_key))

    def _key(self, name: str) -> str:
        return f"{self.scene.sku}-{self.name}-{name}"

    async def press(self, key: str = "c1") -> str:
        """Ask for one unit, once; HELD, a refusal's code or UNKNOWN."""
        self._press_key = key
        price = gates.PRICE_MINOR / 100
        line = {"productId": self.scene.product, "quantity": 1, "price": price}
        return await self._send("checkout", "/v1/checkout", key, {"products": [line]})

    async def pay(self, key: str = "p1", card: str = plan.GOOD_CARD) -> str:
        """Pay the held order once; PAID, DECLINED, a refusal's code or UNKNOWN."""
        details = {"number": card, "expMonth": 12, "expYear": 2040, "cvc": "123"}
        body = {"orderId": self.order_id, "paymentMethod": "card", "cardDetails": details}
        return await self._send("pay", "/v1/payment", key, body, self.order_id)

    async def press_on(self, key: str = "c1", *, deadline: float | None = None) -> str:
        """Ask again with the same key until the answer is definite."""
        return await self._insist(lambda: self.press(key), deadline)

    async def pay_on(
        self, key: str = "p1", card: str = plan.GOOD_CARD, *, deadline: float | None = None
    ) -> str:
        """Pay again with the same key until the answer is definite."""
        return await self._insist(lambda: self.pay(key, card), deadline)

    async def hold(self) -> str:
        """Press until a unit is held; returns the order id."""
        code = await self.press_on()
        assert code == "HELD", f"{self.name} heard {code}"
        return self.order_id

    async def _insist(self, step: Callable[[], Awaitable[str]], deadline: float | None) -> str:
        end = deadline or time.monotonic() + ANSWER_SECONDS
        while True:
            code = await step()
            if code != UNKNOWN and code not in COME_AGAIN:
                return code
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} has no answer, at last {code!r}")
            await asyncio.sleep(POLL_SECONDS)

    async def _send(
        self, op: history.Op, path: str, key: str, body: Mapping[str, Any], order: str = ""
    ) -> str:
        self.calls += 1
        call = self.scene.recorder.invoke(self.name, op, self._key(key), order or None)
        try:
            answer = await self.visitor.call("POST", path, body=dict(body), key=self._key(key))
        except shop.NoAnswerError as error:
            self.scene.recorder.answered(call, "unknown", code=f"NO_ANSWER_{error}")
            return UNKNOWN
        if not answer.is_definite or answer.status == 429:
            self.scene.recorder.answered(call, "unknown", status=answer.status)
            return UNKNOWN
        code = _code(op, answer)
        granted = code in {"HELD", "PAID"}
        self.has_paid = self.has_paid or code == "PAID"
        self.scene.recorder.answered(
            call,
            "ok" if granted else "fail",
            status=answer.status,
            code=code,
            order=answer.body.get("orderId"),
            amount=_text(answer, "amount"),
            transaction=_text(answer, "transactionId"),
        )
        return code


def _code(op: history.Op, answer: shop.Answer) -> str:
    if not answer.is_success:
        return answer.code
    if op == "checkout":
        return "HELD"
    return "PAID" if answer.body["status"] == "success" else "DECLINED"


def _text(answer: shop.Answer, name: str) -> str | None:
    value = answer.body.get(name)
    return None if value is None else str(value)
