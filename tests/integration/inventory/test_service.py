"""The service as a process: who may call, what is refused, and buyers who retry while it is killed again and again."""

import asyncio
import io
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis

from doorbuster.escrow import Escrow, EscrowAwayError, PermitRequest
from doorbuster.kit import ids, redis
from doorbuster.testing import processes

CALLERS = ("inventory", "checkout", "payment", "operator", "order", "search", "cart")


class Neighbours:
    """Payment's word on attempts, final once said, and user's public keys, over HTTP."""

    def __init__(self, keys: processes.Keys) -> None:
        self.words: dict[tuple[str, int], str] = {}
        self._keys = keys

    async def jwks(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._keys.jwks(), content_type="application/json")

    async def verdicts(self, request: web.Request) -> web.Response:
        items = (await request.json())["items"]
        verdicts = [
            {**item, "verdict": self.words.get((item["orderId"], item["attempt"]), "UNKNOWN")}
            for item in items
        ]
        return web.json_response({"verdicts": verdicts})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/internal/v1/payments:verdicts", self.verdicts)
        app.router.add_get("/.well-known/jwks.json", self.jwks)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        port = processes.free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
        await runner.cleanup()


@dataclass
class House:
    """One or more inventory processes over one database."""

    env: dict[str, str]
    keys: processes.Keys
    session: aiohttp.ClientSession
    payment: Neighbours
    folder: Path

    def starting(self, name: str, port: int | None = None) -> Any:
        """Run one more process."""
        return processes.running("inventory", self.env, self.folder / f"{name}.log", port=port)

    async def call(
        self, url: str, method: str, path: str, body: Any = None, *, caller: str = "checkout"
    ) -> tuple[int, Any]:
        """Call as a service; returns status and body."""
        headers = self.keys.as_service(caller, "inventory")
        async with self.session.request(
            method, url + path, json=body, headers=headers
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def open_sale(
        self, url: str, sku: str, units: int, hold_seconds: int = 60
    ) -> dict[str, Any]:
        """Take a fence, set the stock, open a sale; returns its gate."""
        lease = {"leaseNamespace": "test", "leaseName": sku, "holder": "test"}
        _, fence = await self.call(url, "POST", "/control/v1/fences", lease, caller="operator")
        pool = {"capacity": units, "ownerUid": "pool", "generation": 1, **fence}
        status, _ = await self.call(
            url, "PUT", f"/control/v1/pools/{sku}", pool, caller="operator"
        )
        assert status == 200
        now = datetime.now(UTC)  # noqa: TID251 - the tests' own clock
        gate = {
            "namespace": "shop",
            "name": sku,
            "generation": 1,
            **fence,
            "state": "Active",
            "openTime": (now - timedelta(seconds=1)).isoformat(),
            "closeTime": (now + timedelta(hours=1)).isoformat(),
            "reservationTimeoutSeconds": hold_seconds,
            "items": [{"sku": sku, "priceMinor": 99900, "currency": "EUR"}],
        }
        status, state = await self.call(
            url, "PUT", f"/control/v1/sales/uid-{sku}", gate, caller="operator"
        )
        assert (status, state["armed"]) == (200, True)
        return gate

    async def sale(self, url: str, sku: str) -> Any:
        """Return the state of a sale."""
        _, states = await self.call(url, "GET", "/control/v1/sales", caller="operator")
        return next(state for state in states["sales"] if state["uid"] == f"uid-{sku}")


@pytest.fixture
async def house(inventory_dsn: str, fresh_redis: str, tmp_path: Path) -> AsyncIterator[House]:
    """Everything a process needs, except Kafka: nobody listens there."""
    async with AsyncExitStack() as opened:
        keys = processes.Keys(tmp_path / "keys", CALLERS)
        payment = Neighbours(keys)
        payment_url = await opened.enter_async_context(payment.listening())
        timeout = aiohttp.ClientTimeout(total=5)
        session = await opened.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        env = {
            "DOORBUSTER_INVENTORY_DSN": inventory_dsn,
            "DOORBUSTER_REDIS_URL": fresh_redis,
            "DOORBUSTER_KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "DOORBUSTER_PAYMENT_URLS": payment_url,
            "DOORBUSTER_USER_URLS": payment_url,
            "DOORBUSTER_PIN_SWEEP_SECONDS": "0.5",
            **keys.env("inventory"),
        }
        yield House(env=env, keys=keys, session=session, payment=payment, folder=tmp_path)


def order_of(sku: str, order: str, *, epoch: int | None = None) -> dict[str, Any]:
    """Build a reserve item as JSON."""
    return {
        "orderId": order,
        "userId": f"user_{order}",
        "requestHash": "hash",
        "topic": f"sale.shop.{sku}.orders",
        "lines": [
            {
                "productId": ids.product_id(sku),
                "quantity": 1,
                "priceMinor": 99900,
                "currency": "EUR",
                "saleUid": f"uid-{sku}",
                "epoch": epoch,
            }
        ],
    }


def judge_of(sku: str, order: str, epoch: int) -> dict[str, Any]:
    """Build a judge item as JSON."""
    return {
        "orderId": order,
        "userId": f"user_{order}",
        "requestHash": "hash",
        "productId": ids.product_id(sku),
        "quantity": 1,
        "saleUid": f"uid-{sku}",
        "epoch": epoch,
    }


ROUTES = [
    ("POST", "/internal/v1/reservations", "checkout"),
    ("POST", "/internal/v1/judgements", "checkout"),
    ("POST", "/internal/v1/pins", "checkout"),
    ("POST", "/internal/v1/unpins", "payment"),
    ("POST", "/internal/v1/reservations:unreturned", "payment"),
    ("POST", "/internal/v1/warm", "checkout"),
    ("POST", "/internal/v1/availability", "cart"),
    ("POST", "/control/v1/fences", "operator"),
    ("PUT", "/control/v1/sales/uid-hostile", "operator"),
    ("PUT", "/control/v1/pools/hostile", "operator"),
]
HUGE = 10**30
JUNK: list[Any] = [
    *(None, 0, "x", [], {}, [[]], {"items": None}, {"items": []}, {"items": [None]}),
    *({"items": [{}]}, {"productIds": [HUGE]}, {"productIds": ["\x00"]}, {"items": "\u202e"}),
    {"productIds": ["../../etc"]},
    {"items": [{"orderId": "o", "attempt": HUGE}]},
    {"items": [{"orderId": "o", "attempt": -1}]},
    {"items": [{"orderId": "o" * 10_000, "attempt": 1}]},
    {"orderId": "o", "attempt": 0},
    {"orderId": "o{}", "attempt": 1},
    {"leaseNamespace": "", "leaseName": "x", "holder": "x" * 1000},
    {"capacity": HUGE, "ownerUid": "o", "generation": 1, "fence": 1},
    {"capacity": -1, "ownerUid": "o", "generation": 1, "fence": 1},
    {"capacity": 1, "ownerUid": "o\n", "generation": 1, "fence": 1},
    {"capacity": 1, "ownerUid": "o", "generation": 2**63, "fence": 2**63},
]


async def test_bad_input_is_refused_with_a_code(house: House, sku: str) -> None:
    async with house.starting("a") as running:
        gate = await house.open_sale(running.url, sku, 5)
        for rate in (0, -1, 100_001, HUGE, "5", 1.5, []):
            status, answer = await house.call(
                running.url,
                "PUT",
                f"/control/v1/sales/uid-{sku}",
                {**gate, "admitPerSecond": rate},
                caller="operator",
            )
            assert (status, answer["code"]) == (422, "INVALID"), rate
        good = order_of(sku, "order_x")
        bad_orders = [
            *(
                {**good, name: value}
                for name in good
                for value in (None, HUGE, "", "\x00", [1], {})
            ),
            *(
                {**good, "lines": [{**good["lines"][0], name: value}]}
                for name in good["lines"][0]
                for value in (HUGE, -1, "", "\x00", "x{y}", [], {}, 1.5)
            ),
            {**good, "lines": good["lines"] * 2},
            {**good, "lines": []},
        ]
        question = judge_of(sku, "order_x", epoch=1)
        bad_questions = [
            *(
                {**question, name: value}
                for name in question
                for value in (HUGE, "", "\x00", [1], {})
            ),
            *(
                {**question, name: "x{y}"}
                for name in ("orderId", "userId", "productId", "saleUid")
            ),
        ]
        bodies = [*JUNK, *({"items": [item]} for item in (*bad_orders, *bad_questions))]
        answers: Counter[int] = Counter()
        for method, path, caller in ROUTES:
            for body in bodies:
                status, answer = await house.call(running.url, method, path, body, caller=caller)
                answers[status] += 1
                assert 400 <= status < 500, (path, body, answer)
                assert answer["code"]
        assert set(answers) == {415, 422}
        deep = b'{"items":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        headers = house.keys.as_service("checkout", "inventory")
        url = running.url + "/internal/v1/reservations"
        for data, kind, status in (
            (deep, "application/json", 400),
            (b"{", "application/json", 400),
            (b"\xff\xfe", "application/json", 400),
            (b"{}", "text/plain", 415),
            (b" " * 5_000_000, "application/json", 413),
        ):
            async with house.session.post(
                url, data=io.BytesIO(data), headers={**headers, "Content-Type": kind}
            ) as response:
                assert response.status in (status, 422), (data[:20], await response.text())
        sale = await house.sale(running.url, sku)
        item = sale["items"][0]
        assert (item["available"], item["reserved"], item["sold"]) == (5, 0, 0)


async def test_a_strange_since_is_refused(house: House) -> None:
    async with house.starting("a") as running:
        headers = house.keys.as_service("operator", "inventory")
        for since in ("x", "-1", "9" * 23, "\x00", "1;drop table sale"):
            for kind in ("sales", "pools"):
                url = f"{running.url}/control/v1/{kind}"
                async with house.session.get(
                    url, params={"since": since}, headers=headers
                ) as response:
                    assert response.status == 422


async def test_only_the_named_callers_are_let_in(house: House) -> None:
    async with house.starting("a") as running:
        for method, path, caller in [
            *ROUTES,
            ("GET", "/internal/v1/sales", "search"),
            ("GET", "/internal/v1/reservations/order_x", "order"),
            ("GET", "/control/v1/sales", "operator"),
        ]:
            stranger = "order" if caller != "order" else "payment"
            status, answer = await house.call(running.url, method, path, {}, caller=stranger)
            assert (status, answer["code"]) == (403, "FORBIDDEN")
            async with house.session.request(method, running.url + path) as response:
                assert response.status == 401
        status, answer = await house.call(
            running.url, "GET", "/internal/v1/reservations/order_x", caller="order"
        )
        assert (status, answer["code"]) == (404, "UNKNOWN_ORDER")


async def test_merchants_set_stock_others_do_not_and_the_shop_sees_it(
    house: House, sku: str
) -> None:
    async with house.starting("a") as running:
        product_id = ids.product_id(sku)

        async def stock(
            method: str, body: Any = None, *, role: str = "merchant", of: str = product_id
        ) -> tuple[int, Any]:
            async with house.session.request(
                method,
                f"{running.url}/v1/admin/stock/{of}",
                json=body,
                headers=house.keys.as_user("user_m", role),
            ) as response:
                return response.status, await response.json()

        for role in ("buyer", ""):
            assert (await stock("PUT", {"total": 5}, role=role))[0] == 403
        assert (await stock("GET"))[1]["code"] == "UNKNOWN_PRODUCT"
        assert (await stock("PUT", {"total": 5}, of="prod_x"))[1]["code"] == "UNKNOWN_PRODUCT"
        for junk in (
            None,
            {},
            {"total": -1},
            {"total": HUGE},
            {"total": "5"},
            {"total": 5, "x": 1},
        ):
            status, answer = await stock("PUT", junk)
            assert status in (400, 415, 422), junk
            assert answer["code"]
        status, first = await stock("PUT", {"total": 5}, role="admin")
        assert (status, first["total"], first["available"]) == (200, 5, 5)
        assert await stock("PUT", {"total": 5}) == (200, first)
        question = {"ids": [product_id, ids.product_id(f"{sku}-other")]}
        _, told = await house.call(
            running.url, "POST", "/internal/v1/availability", question, caller="cart"
        )
        assert [(item["productId"], item["qty"]) for item in told["items"]] == [(product_id, 5)]
        await house.open_sale(running.url, sku, 4)
        status, answer = await stock("PUT", {"total": 9})
        assert (status, answer["code"]) == (409, "MANAGED_BY_POOL")
        async with redis.open_redis(house.env["DOORBUSTER_REDIS_URL"]) as client:
            deadline = time.monotonic() + 20
            while not (await client.get(f"avail:{{{product_id}}}") or b"").endswith(b" 4"):
                assert time.monotonic() < deadline, "the cache was not written"
                await asyncio.sleep(0.05)


@dataclass
class Crowd:
    """Buyers who take permits, reserve, pin and pay, and ask again after every lost answer."""

    house: House
    escrow: Escrow
    sku: str
    urls: list[str]
    deadline: float

    async def ask(self, path: str, item: dict[str, Any]) -> str:
        """Call until somebody answers; returns the outcome."""
        while time.monotonic() < self.deadline:
            try:
                status, answer = await self.house.call(
                    random.choice(self.urls), "POST", path, {"items": [item]}
                )
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)
                continue
            if status == 200:
                outcome: str = answer["results"][0]["outcome"]
                return outcome
            await asyncio.sleep(0.05)
        raise AssertionError("nobody answers any more")

    async def reserve(self, order: str) -> str:
        """Come again under the same order id until the answer is final."""
        product_id = ids.product_id(self.sku)
        while time.monotonic() < self.deadline:
            epoch = None
            try:
                permit = await self.escrow.permit(
                    PermitRequest(
                        order_id=order, user_id=f"user_{order}", product_id=product_id, quantity=1
                    )
                )
            except EscrowAwayError:
                permit = None
            if permit is None or permit.outcome == "GRANTED":
                epoch = permit.epoch if permit else None
                item = order_of(self.sku, order, epoch=epoch)
                outcome = await self.ask("/internal/v1/reservations", item)
            elif permit.outcome == "OUT":
                judge = judge_of(self.sku, order, permit.epoch)
                outcome = await self.ask("/internal/v1/judgements", judge)
            else:
                outcome = permit.outcome
            if outcome in ("HELD", "SOLD_OUT", "RELEASED", "PAID"):
                return outcome
            await asyncio.sleep(random.uniform(0.05, 0.3))
        raise AssertionError("never got a final answer")

    async def buy(self, number: int) -> str:
        """One buyer: leaves, is declined or pays; tries a new key after a lost hold."""
        while True:
            order = f"order_{self.sku}-{number}-{secrets.token_hex(4)}"
            outcome = await self.reserve(order)
            if outcome == "SOLD_OUT":
                return "SOLD_OUT"
            if outcome == "RELEASED":
                continue
            if number % 5 == 0 and random.random() < 0.7:
                continue  # forgets this order and comes again with another
            pinned = await self.ask("/internal/v1/pins", {"orderId": order, "attempt": 1})
            if pinned != "PINNED":
                continue
            paid = random.random() < 0.7
            self.house.payment.words[order, 1] = "SUCCEEDED" if paid else "FAILED"
            if paid:
                return "PAID"


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_sold_twice_while_processes_and_redis_die(
    house: House, sku: str, fresh_redis: str, shop: Any, seed: int
) -> None:
    random.seed(seed)
    units, buyers = 12, 60
    ports = [processes.free_port(), processes.free_port()]
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(redis.open_redis(fresh_redis))
        escrow = Escrow(client, permit_seconds=1.5)
        opened.push_async_callback(escrow.close)
        await opened.enter_async_context(house.starting("steady", ports[0]))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        await house.open_sale(urls[0], sku, units, hold_seconds=2)
        crowd = Crowd(house, escrow, sku, urls, time.monotonic() + 120)
        shoppers = [asyncio.create_task(crowd.buy(number)) for number in range(buyers)]
        for round_number in range(2):
            async with house.starting(f"mortal-{round_number}", ports[1]) as mortal:
                await asyncio.sleep(random.uniform(0.1, 1.0))
                await mortal.kill()
            if round_number == 1:
                async with Redis.from_url(fresh_redis) as other:
                    await other.flushdb()
        outcomes = Counter(await asyncio.gather(*shoppers))
        assert outcomes == {"PAID": units, "SOLD_OUT": buyers - units}
        async with asyncio.timeout(20):
            # The processes bring it about; there is nothing in here to wait for but the stores.
            while (await shop.counters(sku)) != (0, 0, units):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            while (await shop.permits_left(sku)) != (0, 0):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    row = await shop.row(
        "SELECT count(*) AS released, (SELECT count(DISTINCT event_key) FROM outbox"
        " WHERE topic = $1) AS told, (SELECT count(*) FROM outbox WHERE topic = $1) AS events"
        " FROM reservation WHERE topic = $1 AND state = 'RELEASED'",
        f"sale.shop.{sku}.orders",
    )
    assert row["released"] == row["told"] == row["events"]
