"""What gets through the door and what does not: paths, headers, addresses, tokens, bodies."""

import asyncio
import gzip
import json
import time

from aiohttp import web

from .conftest import Street, say

TARGETS = [
    b"/internal/v1/pins",
    b"//internal/v1/pins",
    b"/v1/../internal/v1/pins",
    b"/v1/orders/../../internal/v1/pins",
    b"/v1/orders/..%2f..%2finternal/v1/pins",
    b"/v1/orders/%2e%2e/%2e%2e/internal/v1/pins",
    b"/v1/orders/..;/..;/internal/v1/pins/..",
    b"/v1/orders\\..\\..\\internal",
    b"/v1/sales%00",
    b"/v1/sales/\xff",
    b"/v1/sales#/../internal",
    b"/control/v1/sales",
    b"/api/../internal/v1/pins",
    b"/api/orders/../../internal/v1/pins/status",
    b"/api/orders/../status",
    b"/metrics",
    b"/livez",
    b"/readyz",
    b"http://127.0.0.1/v1/sales",
    b"http://127.0.0.1:1/internal/v1/pins",
    b"http:///internal/v1/pins",
    b"127.0.0.1:1",
    b"*",
    b"/v1/products/search?term=x",
    b"/v1/cart",
]
METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PURGE"]


async def test_no_trick_of_the_path_reaches_anything(street: Street) -> None:
    for target in TARGETS:
        for method in METHODS:
            answer = await say(
                street.gateway,
                method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            )
            assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4"), (method, target, answer[:200])
    connect = await say(street.gateway, b"CONNECT internal:80 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connect[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4")
    assert street.arrived() == []


SMUGGLING_HEADS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\nContent-Length: 60\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -1\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
]


async def test_no_second_request_is_smuggled_in(street: Street) -> None:
    smuggled = b"0\r\n\r\nGET /internal/v1/pins HTTP/1.1\r\nHost: x\r\n\r\n"
    start = b"POST /v1/sales HTTP/1.1\r\nHost: x\r\n"
    await asyncio.gather(
        *(say(street.gateway, start + head + b"\r\n" + smuggled) for head in SMUGGLING_HEADS)
    )
    for arrived in street.arrived():
        assert (arrived.method, arrived.path) == ("POST", "/v1/sales")
        assert b"internal" not in arrived.body
    status, _, _ = await street.call("GET", "/v1/sales")
    assert status == 200


async def test_only_known_headers_go_in_and_traces_begin_here(street: Street) -> None:
    status, _, answered = await street.call(
        "GET",
        "/v1/sales?page=1&size=%20",
        address="6.6.6.6, 198.51.100.7",
        headers={
            "Cookie": "session=1",
            "Connection": "X-Hop",
            "X-Hop": "1",
            "X-Real-IP": "6.6.6.6",
            "Forwarded": "for=6.6.6.6",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "https",
            "X-Original-URL": "/internal/v1/pins",
            "X-HTTP-Method-Override": "DELETE",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "a=b",
            "baggage": "a=b",
            "Idempotency-Key": "k",
            "Accept-Language": "de",
        },
    )
    assert status == 200
    (arrived,) = street.arrived()
    assert arrived.path == "/v1/sales?page=1&size=%20"
    names = {name.lower() for name in arrived.headers}
    assert names <= {
        *("host", "accept", "accept-language", "idempotency-key", "user-agent"),
        *("x-forwarded-for", "traceparent"),
    }
    assert arrived.headers["X-Forwarded-For"] == "198.51.100.7, 127.0.0.1"
    trace_id = arrived.headers["traceparent"].split("-")[1]
    assert trace_id != "0af7651916cd43dd8448eb211c80319c"
    assert answered["X-Request-Id"] == trace_id
    assert answered["Server"] == "doorbuster"


async def test_strangers_cannot_choose_their_address(street: Street) -> None:
    rate = "0.01/3"
    async with street.another(
        DOORBUSTER_TRUSTED_PROXIES="10.0.0.0/8", DOORBUSTER_RATE_ADDRESS=rate
    ):
        statuses = [
            (await street.call("GET", "/v1/sales", address=f"198.51.100.{number}"))[0]
            for number in range(5)
        ]
    assert statuses == [200, 200, 200, 429, 429]
    assert {one.headers["X-Forwarded-For"] for one in street.arrived()} == {"127.0.0.1"}


BAD_AUTHORIZATIONS = [
    *("", "Bearer", "Bearer x", "Basic YTpi", "Bearer a.b.c", "Bearer " + "x" * 5000, "\u00fc"),
]


async def test_no_bad_token_goes_further(street: Street) -> None:
    for method, path in (
        ("POST", "/v1/checkout"),
        ("POST", "/v1/payment"),
        ("GET", "/v1/orders"),
        ("POST", "/api/checkout"),
        ("GET", "/api/orders/order_1/status"),
    ):
        for authorization in BAD_AUTHORIZATIONS:
            status, body, headers = await street.call(
                method, path, headers={"Authorization": authorization}
            )
            assert (status, body["code"]) == (401, "UNAUTHENTICATED"), authorization
            assert headers["WWW-Authenticate"] == "Bearer"
    assert street.arrived() == []


async def test_a_good_token_goes_further_also_while_the_user_service_is_away(
    street: Street,
) -> None:
    await street.user.stop()
    own = street.as_user()
    status, _, _ = await street.call("GET", "/v1/orders", headers=own)
    assert status == 200
    (arrived,) = street.arrived()
    assert arrived.headers["Authorization"] == own["Authorization"]
    status, body, headers = await street.call("GET", "/v1/users/me", headers=own)
    assert (status, body["code"], headers["Retry-After"]) == (503, "UNAVAILABLE", "1")


async def test_an_old_token_does_not_hinder_a_log_in(street: Street) -> None:
    status, _, _ = await street.call(
        "POST", "/v1/sessions", json={}, headers={"Authorization": "Bearer old"}
    )
    assert status == 200


async def test_a_body_is_bounded(street: Street) -> None:
    fits, too_long = b"x" * 256 * 1024, b"x" * (256 * 1024 + 1)
    assert (await street.call("POST", "/v1/users", data=fits))[0] == 200
    assert street.arrived()[0].body == fits

    async def chunks() -> object:
        for _ in range(300):
            yield b"x" * 1024

    bomb = gzip.compress(b"x" * 50_000_000)
    for data, headers in (
        (too_long, {}),
        (chunks(), {}),
        (bomb, {"Content-Encoding": "gzip"}),
    ):
        status, body, _ = await street.call("POST", "/v1/users", data=data, headers=headers)
        assert (status, body["code"]) == (413, "BODY_TOO_LARGE")
    status, body, _ = await street.call(
        "POST", "/v1/users", data=b"no gzip", headers={"Content-Encoding": "gzip"}
    )
    assert (status, body["code"]) == (400, "MALFORMED")
    assert len(street.arrived()) == 1


async def test_a_body_that_never_comes_is_given_up(street: Street) -> None:
    port = int(street.gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
        async with asyncio.timeout(15):
            line = await reader.readline()
    finally:
        writer.close()
    assert line.startswith(b"HTTP/1.1 408")
    assert street.arrived() == []


async def test_the_short_dialect_is_translated_both_ways(street: Street) -> None:
    order_id = "order_01h455vb4pex5vsknk084sn02q"

    async def placed(_request: web.Request) -> web.Response:
        return web.json_response({"orderId": order_id, "amount": 999.99}, status=201)

    async def declined(_request: web.Request) -> web.Response:
        return web.json_response({"orderId": order_id, "status": "failed"})

    async def confirmed(_request: web.Request) -> web.Response:
        return web.json_response({"orderId": order_id, "status": "confirmed", "history": []})

    for checkout in street.checkouts:
        checkout.handler = placed
    street.payment.handler, street.order.handler = declined, confirmed
    headers = street.as_user() | {"Idempotency-Key": "k1"}
    body = {"products": [{"product_id": "prod_1", "quantity": 1, "price": "999.99"}]}
    answer = await street.call("POST", "/api/checkout", json=body, headers=headers)
    assert answer[:2] == (201, {"orderId": order_id})
    card = {"orderId": order_id, "cardDetails": "4242424242424242"}
    card |= {"expirationDate": "12/31", "cvv": "123"}
    answer = await street.call("POST", "/api/payment", json=card, headers=headers)
    assert answer[:2] == (200, {"status": "FAILED"})
    answer = await street.call("GET", f"/api/orders/{order_id}/status", headers=headers)
    assert answer[:2] == (200, {"orderId": order_id, "status": "CONFIRMED"})
    checkout_arrived, payment_arrived, order_arrived = street.arrived()
    assert checkout_arrived.path == "/v1/checkout"
    assert checkout_arrived.headers["Idempotency-Key"] == "k1"
    assert json.loads(checkout_arrived.body) == {
        "products": [{"productId": "prod_1", "quantity": 1, "price": 999.99}]
    }
    assert json.loads(payment_arrived.body)["cardDetails"]["expYear"] == 2031
    assert order_arrived.path == f"/v1/orders/{order_id}/status"


async def test_no_bad_body_of_the_dialect_is_a_fault(street: Street) -> None:
    raws = [
        *(b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff", b'{"a":NaN}', b'{"price":1e999}'),
        *(b"[" * 100_000, b'{"products":"\\u0000"}', b'{"products":["\\ud800"]}'),
        b'{"products":[{"price":"' + b"9" * 100_000 + b'"}]}',
    ]
    for path in ("/api/checkout", "/api/payment"):
        for raw in raws:
            status, body, _ = await street.call(
                *("POST", path),
                data=raw,
                headers=street.as_user(len(raw)) | {"Content-Type": "application/json"},
            )
            assert status in (400, 422), (path, raw[:60], status)
            assert body["code"] in ("MALFORMED", "INVALID")
        status, body, _ = await street.call("POST", path, data=b"a=b", headers=street.as_user())
        assert (status, body["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        status, body, headers = await street.call("PUT", path, headers=street.as_user())
        assert (status, headers["Allow"]) == (405, "POST")
    assert street.arrived() == []
    status, body, _ = await street.call("POST", "/api/checkout", json={}, headers=street.as_user())
    assert (status, body["code"]) == (503, "UNAVAILABLE")  # {} is no answer of checkout's


async def test_a_stream_comes_as_it_is_made(street: Street) -> None:
    may_end = asyncio.Event()

    async def tell(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await may_end.wait()
        await response.write(b"data: 2\n\n")
        return response

    street.order.handler = tell
    started = time.monotonic()
    async with street.session.get(
        f"{street.gateway.url}/v1/orders/order_1/events", headers=street.as_user()
    ) as answer:
        first = await answer.content.readuntil(b"\n\n")
        assert (first, answer.headers["Content-Type"]) == (b"data: 1\n\n", "text/event-stream")
        may_end.set()
        assert await answer.content.readuntil(b"\n\n") == b"data: 2\n\n"
    assert time.monotonic() - started < 10


async def test_neither_tokens_nor_addresses_are_logged(street: Street) -> None:
    for number in range(3):
        await street.call("POST", "/v1/checkout", json={}, headers=street.as_user(number))
    await street.payment.stop()
    card = {"orderId": "order_1", "cardDetails": "4242424242424242", "cvv": "987"}
    card |= {"expirationDate": "12/31"}
    await street.call("POST", "/api/payment", json=card, headers=street.as_user())
    shown = street.gateway.log.read_text()
    assert "call_failed" in shown
    for secret in ("eyJ", "198.51.100.7", "4242", "987", "0000001"):
        assert secret not in shown
