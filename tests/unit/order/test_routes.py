"""The order service's edge: who may see what, pages, and input that is missing, mistyped, oversized or hostile."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from doorbuster.kit import auth, web
from doorbuster.kit.consumer import Delivery
from doorbuster.order.app import ERRORS
from doorbuster.order.routes import OrderRoutes
from doorbuster.order.streams import Bells
from doorbuster.order.usecases import Orders
from doorbuster.testing import stories
from doorbuster.testing.orders import FakeCheckout, FakeInventory, FakeOrderStore

ORDER = stories.order_id()
ADMIN = stories.user_id(99)


class ByName(web.Authenticator):
    """Takes the bearer token for the name of who calls."""

    async def check(self, request: Any, access: web.Access) -> None:
        name = auth.bearer(request.headers.get("Authorization"))
        match access:
            case web.Users(roles=roles):
                role = "admin" if name == ADMIN else "buyer"
                if roles and role not in roles:
                    raise auth.ForbiddenError(name)
                request[web.USER] = auth.UserClaims(user_id=name, role=role, session_id="s")
            case web.Callers(names=names) if name not in names:
                raise auth.ForbiddenError(name)


@pytest.fixture
async def shop() -> AsyncIterator[TestClient[Any, Any]]:
    bells = Bells()
    orders = Orders(
        store=FakeOrderStore(),
        checkout=FakeCheckout(),
        inventory=FakeInventory(),
        announce=bells.ring,
        now=lambda: stories.at(60),
    )
    heard = [stories.placed(1), stories.paid(1)]
    heard += [
        stories.placed(number, user_id=stories.user_id(7), placed_at=stories.at(number))
        for number in range(2, 27)
    ]
    heard.append(stories.reversed_payment(26, user_id=stories.user_id(7)))
    await orders.take_in([Delivery(event=event, topic="orders", carrier={}) for event in heard])
    app = web.create_app(
        routes=OrderRoutes(orders, bells).table(), errors=ERRORS, authenticator=ByName()
    )
    async with TestClient(TestServer(app)) as client:
        yield client


def as_user(number: int = 1) -> dict[str, str]:
    return {"Authorization": f"Bearer {stories.user_id(number)}"}


PAYMENT = {"Authorization": "Bearer payment"}
QUESTIONS = ("orders:missing", "orders:unreversed")


async def test_a_buyer_sees_the_status_of_an_own_order(shop: TestClient[Any, Any]) -> None:
    answer = await shop.get(f"/v1/orders/{ORDER}/status", headers=as_user())
    assert answer.status == 200
    body = await answer.json()
    assert (body["orderId"], body["status"]) == (ORDER, "confirmed")
    assert [step["status"] for step in body["history"]] == ["pending", "confirmed"]
    assert body["history"][1]["at"] == "2026-11-27T09:00:05Z"


async def test_money_is_a_json_number_with_the_currencys_exponent(
    shop: TestClient[Any, Any],
) -> None:
    answer = await shop.get(f"/v1/orders/{ORDER}", headers=as_user())
    assert answer.status == 200
    assert '"amount":999.00,"currency":"EUR"' in await answer.text()


async def test_pages_come_newest_first_and_end(shop: TestClient[Any, Any]) -> None:
    seen: list[str] = []
    for page in (1, 2, 3, 4):
        answer = await shop.get(f"/v1/orders?page={page}&size=10", headers=as_user(7))
        body = await answer.json()
        assert body["pagination"] == {"page": page, "size": 10, "totalPages": 3, "totalItems": 25}
        seen += [order["orderId"] for order in body["orders"]]
    assert seen == [stories.order_id(number) for number in range(26, 1, -1)]


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("GET", ""),
        ("GET", "/status"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/return"),
    ],
)
@pytest.mark.parametrize("who", [2, 99])
async def test_other_peoples_orders_do_not_exist(
    shop: TestClient[Any, Any], method: str, tail: str, who: int
) -> None:
    answer = await shop.request(method, f"/v1/orders/{ORDER}{tail}", headers=as_user(who), json={})
    assert (answer.status, (await answer.json())["code"]) == (404, "UNKNOWN_ORDER")


@pytest.mark.parametrize("tail", ["", "/status", "/events"])
@pytest.mark.parametrize(
    "order_id",
    [
        "1",
        "order_",
        "order_00000000000000000000000000",
        "prod_01h455vb4pex5vsknk084sn02q",
        "order_01h455vb4pex5vsknk084sn02q" * 50,
        "%00",
        "order_01h455vb4pex5vsknk084sn0%00",
        "..%2f..%2fetc%2fpasswd",
        "' OR 1=1 --",
        "ордер",
        "%F0%9F%92%A3",
        "%ff%fe",
    ],
)
async def test_ids_that_name_nothing_are_404(
    shop: TestClient[Any, Any], order_id: str, tail: str
) -> None:
    answer = await shop.get(f"/v1/orders/{order_id}{tail}", headers=as_user())
    assert answer.status == 404
    assert (await answer.json())["code"] in ("UNKNOWN_ORDER", "NOT_FOUND")


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=1001",
        "page=x",
        "page=",
        "page=1.5",
        "page=99999999999999999999999999",
        "size=0",
        "size=101",
        "size=NaN",
        "page=%00",
        "size=%D9%A1",
    ],
)
async def test_pages_out_of_bounds_are_422(shop: TestClient[Any, Any], query: str) -> None:
    answer = await shop.get(f"/v1/orders?{query}", headers=as_user())
    assert (answer.status, (await answer.json())["code"]) == (422, "INVALID")


@pytest.mark.parametrize(
    "path", ["/v1/orders", f"/v1/orders/{ORDER}", f"/v1/orders/{ORDER}/status"]
)
async def test_nobody_sees_orders_unsigned(shop: TestClient[Any, Any], path: str) -> None:
    answer = await shop.get(path)
    assert (answer.status, (await answer.json())["code"]) == (401, "UNAUTHENTICATED")


async def test_payment_learns_what_is_missing(shop: TestClient[Any, Any]) -> None:
    asked = [ORDER, stories.order_id(2), stories.order_id(99)]
    answer = await shop.post("/internal/v1/orders:missing", json={"ids": asked}, headers=PAYMENT)
    assert await answer.json() == {"missing": asked[1:]}
    empty = await shop.post("/internal/v1/orders:missing", json={"ids": []}, headers=PAYMENT)
    assert await empty.json() == {"missing": []}


async def test_payment_learns_whose_reversal_is_not_known(shop: TestClient[Any, Any]) -> None:
    asked = [ORDER, stories.order_id(2), stories.order_id(99), stories.order_id(26)]
    url = "/internal/v1/orders:unreversed"
    answer = await shop.post(url, json={"ids": asked}, headers=PAYMENT)
    assert await answer.json() == {"missing": asked[:3]}
    empty = await shop.post(url, json={"ids": []}, headers=PAYMENT)
    assert await empty.json() == {"missing": []}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_only_payment_may_ask(shop: TestClient[Any, Any], question: str) -> None:
    answer = await shop.post(f"/internal/v1/{question}", json={"ids": []}, headers=as_user())
    assert answer.status == 403


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        ("{}", 422),
        ('{"ids": null}', 422),
        ('{"ids": "order_1"}', 422),
        ('{"ids": [1]}', 422),
        ('{"ids": ["x"]}', 422),
        ('{"ids": ["\\u0000"]}', 422),
        ('{"ids": ' + "[" * 5000 + "]" * 5000 + "}", 422),
        ('{"ids": [' + ",".join([f'"{ORDER}"'] * 1001) + "]}", 422),
        ('{"ids": ["' + "x" * 300_000 + '"]}', 413),
    ],
)
async def test_bad_questions_are_refused(
    shop: TestClient[Any, Any], question: str, body: str, status: int
) -> None:
    headers = {**PAYMENT, "Content-Type": "application/json"}
    answer = await shop.post(f"/internal/v1/{question}", data=body, headers=headers)
    assert answer.status == status
    assert (await answer.json())["code"] in ("MALFORMED", "INVALID", "BODY_TOO_LARGE")


ADMIN_CALLS = [("GET", ""), ("GET", f"/{ORDER}")]
ADMIN_CALLS += [
    ("POST", f"/{ORDER}/{what}") for what in ("shipments", "deliveries", "cancel", "returns")
]
PARCEL = {"carrier": "Swift Parcels", "trackingNumber": "SP-9"}


@pytest.mark.parametrize(("method", "tail"), ADMIN_CALLS)
async def test_only_admins_see_and_change_everybodys_orders(
    shop: TestClient[Any, Any], method: str, tail: str
) -> None:
    url = f"/v1/admin/orders{tail}"
    assert (await shop.request(method, url, json={})).status == 401
    assert (await shop.request(method, url, json={}, headers=as_user())).status == 403


@pytest.mark.parametrize(("method", "tail"), ADMIN_CALLS[1:])
async def test_to_admins_an_order_that_is_not_is_unknown(
    shop: TestClient[Any, Any], method: str, tail: str
) -> None:
    url = f"/v1/admin/orders{tail}".replace(ORDER, stories.order_id(404))
    answer = await shop.request(
        method, url, json=PARCEL if "ship" in tail else {}, headers=as_user(99)
    )
    assert (answer.status, (await answer.json())["code"]) == (404, "UNKNOWN_ORDER")


async def test_everybodys_orders_are_listed_by_status(shop: TestClient[Any, Any]) -> None:
    answer = await shop.get("/v1/admin/orders?size=1&page=26", headers=as_user(99))
    body = await answer.json()
    assert body["pagination"] == {"page": 26, "size": 1, "totalPages": 26, "totalItems": 26}
    answer = await shop.get("/v1/admin/orders?status=confirmed", headers=as_user(99))
    [found] = (await answer.json())["orders"]
    assert (found["userId"], found["order"]["orderId"]) == (stories.user_id(), ORDER)
    assert [step["status"] for step in found["status"]["history"]] == ["pending", "confirmed"]
    answer = await shop.get("/v1/admin/orders?status=lost", headers=as_user(99))
    assert (answer.status, (await answer.json())["code"]) == (422, "INVALID")


async def test_each_refusal_has_its_code(shop: TestClient[Any, Any]) -> None:
    async def refused(path: str, user: int, **body: Any) -> tuple[int, str]:
        answer = await shop.post(path.format(ORDER), json=body, headers=as_user(user))
        return answer.status, (await answer.json())["code"]

    ours, theirs = "/v1/orders/{}", "/v1/admin/orders/{}"
    assert await refused(f"{ours}/return", 1) == (409, "NOT_RETURNABLE")
    assert await refused(f"{theirs}/returns", 99) == (409, "NOT_RETURNABLE")
    assert await refused(f"{theirs}/deliveries", 99) == (409, "NOT_SHIPPED")
    far = {**PARCEL, "estimatedDelivery": "0001-01-01T00:00:00+14:00"}
    assert await refused(f"{theirs}/shipments", 99, **far) == (422, "INVALID")
    answer = await shop.post(theirs.format(ORDER) + "/shipments", json=PARCEL, headers=as_user(99))
    assert (answer.status, (await answer.json())["trackingNumber"]) == (200, "SP-9")
    assert await refused(f"{ours}/cancel", 1) == (409, "NOT_CANCELLABLE")
    assert await refused(f"{theirs}/cancel", 99) == (409, "NOT_CANCELLABLE")
    late = {"deliveredAt": "9999-12-31T23:59:59-14:00"}
    assert await refused(f"{theirs}/deliveries", 99, **late) == (422, "INVALID")
    answer = await shop.post(theirs.format(ORDER) + "/deliveries", json={}, headers=as_user(99))
    assert (await answer.json())["status"] == "delivered"
    corrected = {**PARCEL, "trackingNumber": "SP-10"}
    assert await refused(f"{theirs}/shipments", 99, **corrected) == (409, "NOT_SHIPPABLE")


@pytest.mark.parametrize(
    ("tail", "body"),
    [
        ("shipments", {}),
        ("shipments", {**PARCEL, "carrier": ""}),
        ("shipments", {**PARCEL, "trackingNumber": "<b>"}),
        ("shipments", {**PARCEL, "trackingNumber": "1" * 101}),
        ("shipments", {**PARCEL, "estimatedDelivery": "tomorrow"}),
        ("shipments", {**PARCEL, "estimatedDelivery": "2026-12-01T10:00:00"}),
        ("shipments", {**PARCEL, "price": 1}),
        ("deliveries", {"deliveredAt": 7}),
        ("deliveries", {"deliveredAt": "2026-12-01T10:00:00"}),
        ("cancel", {"reason": "x" * 501}),
        ("cancel", {"reason": None}),
        ("cancel", {"refund": True}),
        ("returns", ["reason"]),
    ],
)
async def test_bad_bodies_are_refused_and_change_nothing(
    shop: TestClient[Any, Any], tail: str, body: Any
) -> None:
    url = f"/v1/admin/orders/{ORDER}"
    answer = await shop.post(f"{url}/{tail}", json=body, headers=as_user(99))
    assert (answer.status, (await answer.json())["code"]) == (422, "INVALID")
    seen = await (await shop.get(url, headers=as_user(99))).json()
    assert (seen["order"]["status"], seen["status"]["trackingNumber"]) == ("confirmed", None)
