"""The edge: problems with codes, strict bodies, callers, tokens."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import jwt
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from doorbuster.kit import auth, failpoints
from doorbuster.kit import web as edge


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=5)]
    count: Annotated[int, msgspec.Meta(ge=1)] = 1


class SoldOutError(Exception):
    product_id = "prod_1"
    position = 7


async def echo(request: web.Request) -> web.Response:
    wish = await edge.read_json(request, Wish)
    if wish.name == "gone":
        raise SoldOutError("all units are sold")
    if wish.name == "boom":
        raise ZeroDivisionError
    if wish.name == "away":
        raise ConnectionRefusedError
    return edge.json_response(wish)


async def whoami(request: web.Request) -> web.Response:
    return edge.json_response({"user": request[edge.USER].user_id})


async def maybe_whoami(request: web.Request) -> web.Response:
    claims = request.get(edge.USER)
    return edge.json_response({"user": None if claims is None else claims.user_id})


async def internal(request: web.Request) -> web.Response:
    return edge.json_response({"caller": request[edge.CALLER]})


class Keys:
    """Service keys on disk and one user key behind a JWKS."""

    def __init__(self, folder: Path) -> None:
        (folder / "public").mkdir()
        self.folder = folder
        for name in ("checkout", "payment"):
            key = Ed25519PrivateKey.generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / f"{name}.pem").write_bytes(pem)
            public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            (folder / "public" / f"{name}.pub").write_bytes(public)
        self.user_key = Ed25519PrivateKey.generate()

    async def jwks(self) -> dict[str, Any]:
        return {"keys": [auth.public_jwk("k1", self.user_key.public_key())]}

    def service_token(self, caller: str, audience: str) -> str:
        return auth.ServiceSigner(caller, self.folder / f"{caller}.pem").token(audience)

    def user_token(self, **overrides: Any) -> str:
        now = int(time.time())
        claims = {"iss": "doorbuster", "aud": "api", "sub": "user_1", "role": "buyer", "sid": "s"}
        claims |= {"iat": now, "exp": now + 60} | overrides
        return jwt.encode(claims, self.user_key, algorithm="EdDSA", headers={"kid": "k1"})


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(keys: Keys) -> AsyncIterator[Client]:
    routes = [
        edge.Route(method="POST", path="/v1/wishes", handler=echo, access=edge.Public()),
        edge.Route(method="GET", path="/v1/me", handler=whoami, access=edge.Users()),
        edge.Route(
            method="GET", path="/v1/basket", handler=maybe_whoami, access=edge.AnyoneOrUser()
        ),
        edge.Route(
            method="GET", path="/v1/admin", handler=whoami, access=edge.Users(frozenset({"admin"}))
        ),
        edge.Route(
            method="GET", path="/internal/v1/x", handler=internal, access=edge.callers("checkout")
        ),
    ]
    shape = edge.ErrorShape(status=409, code="SOLD_OUT", title="Sold out", retry_after=3)
    app = edge.create_app(
        routes=routes,
        errors={SoldOutError: shape},
        authenticator=edge.Authenticator(
            users=auth.UserVerifier(keys.jwks),
            services=auth.ServiceVerifier("inventory", keys.folder / "public"),
        ),
    )
    async with TestClient(TestServer(app)) as started:
        yield started


async def post(client: Client, data: bytes, content_type: str = "application/json") -> Any:
    answer = await client.post("/v1/wishes", data=data, headers={"Content-Type": content_type})
    body = await answer.json(content_type=None)
    if answer.status >= 400:
        assert answer.content_type == "application/problem+json"
        assert body["status"] == answer.status
    return answer.status, body


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"name":"gone"}', 409, "SOLD_OUT"),
        (b'{"name":"boom"}', 500, "INTERNAL"),
        (b'{"name":"away"}', 503, "UNAVAILABLE"),
        (b"", 400, "MALFORMED"),
        (b"{", 400, "MALFORMED"),
        (b"\xff\xfe", 400, "MALFORMED"),
        (b"[" * 100_000, 422, "INVALID"),
        (b"[]", 422, "INVALID"),
        (b'{"name":""}', 422, "INVALID"),
        (b'{"name":"toolong"}', 422, "INVALID"),
        (b'{"name":"a","count":"1"}', 422, "INVALID"),
        (b'{"name":"a","count":1e400}', 422, "INVALID"),
        (b'{"name":"a","other":1}', 422, "INVALID"),
        (b'{"name":"a\\u0000"}', 422, "INVALID"),
        (b'{"name":"' + b"x" * 300_000 + b'"}', 413, "BODY_TOO_LARGE"),
    ],
)
async def test_bad_input_gets_a_problem_with_a_stable_code(
    client: Client, body: bytes, status: int, code: str
) -> None:
    got_status, got = await post(client, body)
    assert (got_status, got["code"]) == (status, code)


async def test_a_good_body_passes(client: Client) -> None:
    assert await post(client, b'{"name":"phone","count":2}') == (
        200,
        {"name": "phone", "count": 2},
    )


async def test_a_problem_carries_the_errors_own_facts(client: Client) -> None:
    _, body = await post(client, b'{"name":"gone"}')
    assert body["productId"] == "prod_1"
    assert body["retryAfter"] == 3
    assert body["position"] == 7
    assert body["detail"] == "all units are sold"


async def test_a_crash_shows_nothing_of_itself(client: Client) -> None:
    _, body = await post(client, b'{"name":"boom"}')
    assert "detail" not in body


async def test_a_form_is_no_json(client: Client) -> None:
    status, body = await post(client, b"name=a", "application/x-www-form-urlencoded")
    assert (status, body["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_unknown_paths_and_methods_are_problems_too(client: Client) -> None:
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("PUT", "/v1/wishes", 405, "METHOD_NOT_ALLOWED"),
    ):
        answer = await client.request(method, path)
        body = await answer.json(content_type="application/problem+json")
        assert (answer.status, body["code"]) == (status, code)


async def get(client: Client, path: str, token: str) -> int:
    answer = await client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})
    if answer.status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    return answer.status


async def test_users_pass_with_a_good_token_only(client: Client, keys: Keys) -> None:
    assert await get(client, "/v1/me", keys.user_token()) == 200
    stranger = Ed25519PrivateKey.generate()
    forged = jwt.encode(
        {"iss": "doorbuster", "aud": "api", "sub": "u", "role": "admin", "sid": "s", "exp": 2**40},
        stranger,
        algorithm="EdDSA",
        headers={"kid": "k1"},
    )
    unsigned = jwt.encode({"sub": "u"}, None, algorithm="none", headers={"kid": "k1"})
    for bad in (
        "",
        "x.y.z",
        forged,
        unsigned,
        keys.user_token(exp=int(time.time()) - 3600),
        keys.user_token(aud="other"),
        keys.user_token(iss="other"),
        keys.service_token("checkout", "api"),
    ):
        assert await get(client, "/v1/me", bad) == 401


async def test_where_anybody_may_call_a_bad_token_is_still_refused(
    client: Client, keys: Keys
) -> None:
    async def ask(**headers: str) -> tuple[int, Any]:
        answer = await client.get("/v1/basket", headers=headers)
        return answer.status, (await answer.json(content_type=None)).get("user")

    assert await ask() == (200, None)
    assert await ask(Authorization=f"Bearer {keys.user_token()}") == (200, "user_1")
    for bad in ("Bearer nonsense", "Bearer", "", f"Bearer {keys.user_token(exp=1)}"):
        assert await ask(Authorization=bad) == (401, None)


async def test_roles_are_checked(client: Client, keys: Keys) -> None:
    assert await get(client, "/v1/admin", keys.user_token()) == 403
    assert await get(client, "/v1/admin", keys.user_token(role="admin")) == 200


async def test_only_listed_services_pass_and_only_with_a_token_for_us(
    client: Client, keys: Keys
) -> None:
    assert await get(client, "/internal/v1/x", keys.service_token("checkout", "inventory")) == 200
    assert await get(client, "/internal/v1/x", keys.service_token("payment", "inventory")) == 403
    assert await get(client, "/internal/v1/x", keys.service_token("checkout", "payment")) == 401
    assert await get(client, "/internal/v1/x", keys.user_token()) == 401


async def test_a_service_cannot_speak_for_another(client: Client, keys: Keys) -> None:
    signer = auth.ServiceSigner("checkout", keys.folder / "payment.pem")
    assert await get(client, "/internal/v1/x", signer.token("inventory")) == 401


async def test_a_new_key_in_the_directory_is_found(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_RELOAD_SECONDS", 0.0)
    verifier = auth.ServiceVerifier("inventory", keys.folder / "public")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (keys.folder / "checkout.next.pem").write_bytes(pem)
    token = auth.ServiceSigner("checkout", keys.folder / "checkout.next.pem").token("inventory")
    with pytest.raises(auth.UnauthenticatedError):
        verifier.verify(token)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (keys.folder / "public" / "checkout.next.pub").write_bytes(public)
    assert verifier.verify(token).caller == "checkout"


def test_a_route_has_a_name_among_the_failpoints() -> None:
    path = "/internal/v1/orders/{order_id}/begin-payment"
    route = edge.Route(method="POST", path=path, handler=echo, access=edge.Public())
    assert edge.failpoint(route) == "http.post.orders.order_id.begin_payment"


async def test_a_lost_reply_cuts_the_connection_after_the_work_was_done(client: Client) -> None:
    failpoints.arm("http.post.wishes.reply_lost")
    try:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(client, b'{"name":"a"}')
        assert await post(client, b'{"name":"a"}') == (200, {"name": "a", "count": 1})
    finally:
        failpoints.arm("")


class Filters(msgspec.Struct):
    """A query with a text and a number that may be left out."""

    maker: str | None = None
    least: float | None = None


def asked(query: str) -> web.Request:
    return make_mocked_request("GET", f"/wishes?{query}")


def test_a_query_is_read_and_what_it_does_not_know_is_left_alone() -> None:
    assert edge.read_query(asked("maker=null&least=2.5&x=1"), Filters) == Filters("null", 2.5)


@pytest.mark.parametrize("query", ["least=null", "least=NULL", "least=much"])
def test_a_number_in_a_query_is_a_number_or_not_there(query: str) -> None:
    with pytest.raises(edge.InvalidError):
        edge.read_query(asked(query), Filters)
