"""The user service over HTTP on a real MariaDB: sessions, keys, contacts, and input of every bad kind."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doorbuster.kit import auth
from doorbuster.testing import processes

from .conftest import SECRET, Caller

DEEP = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
GOOD = {"name": "Bo", "email": "bo@shop.example", "password": "12345678"}


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


BODIES: list[Any] = [
    None,
    [],
    "text",
    5,
    {},
    *(without(name) for name in GOOD),
    *(changed(**{name: bad}) for name in GOOD for bad in (None, 5, 1e400, [], {}, True, "")),
    *(changed(**{name: "x" * 300_000}) for name in GOOD),
    *(changed(**{name: "a\x00b@x.org"}) for name in GOOD),
    changed(name="a\r\nBcc: everybody@x.org"),
    changed(name="\u202eeb"),
    changed(name=" " * 20),
    changed(email="nobody"),
    changed(email="a@"),
    changed(email="a@b@c"),
    changed(email="a b@x.org"),
    changed(email="a\r\nb@x.org"),
    changed(email="\u0130" * 127 + "@" + "x" * 126),
    changed(email="<script>@x.org"),
    changed(password="short"),
    changed(password="x" * 129),
    changed(role="admin"),
    changed(userId="user_01h455vb4pex5vsknk084sn02q"),
    changed(isAdmin=True),
]
RAW: list[tuple[bytes, dict[str, str]]] = [
    (b"", {}),
    (b"{", {}),
    (b"\xff\xfe\x00", {}),
    (b'{"name":"\xc3\x28"}', {}),
    (b'{"name":"\\ud800","email":"a@x.org","password":"12345678"}', {}),
    (b'{"name":"\\u0000","email":"a@x.org","password":"12345678"}', {}),
    (b'{"email":"a@x.org","password":NaN}', {}),
    (DEEP, {}),
    (b"9" * 200_000, {}),
    (json.dumps(GOOD).encode(), {"Content-Type": "text/plain"}),
    (json.dumps(GOOD).encode(), {"Content-Type": "application/x-www-form-urlencoded"}),
    (b"no gzip", {"Content-Encoding": "gzip"}),
    (gzip.compress(b"{" + b" " * 50_000_000), {"Content-Encoding": "gzip"}),
    (gzip.compress(json.dumps(GOOD).encode())[:-12], {"Content-Encoding": "gzip"}),
]
CALLS = [
    ("POST", "/v1/users/me/addresses"),
    ("PUT", "/v1/users/me/addresses/addr_01h455vb4pex5vsknk084sn02q"),
    ("PUT", "/v1/users/me/password"),
    ("POST", "/v1/users"),
    ("POST", "/v1/sessions"),
    ("POST", "/v1/sessions/refresh"),
    ("PATCH", "/v1/users/me"),
]


def is_refusal(status: int, body: Any) -> bool:
    return 400 <= status < 500 and bool(body["code"]) and body["status"] == status


async def test_no_bad_body_is_accepted_and_none_is_a_fault(call: Caller) -> None:
    token = (await call.enter("bad-input@shop.example"))["accessToken"]
    for method, path in CALLS:
        for body in BODIES:
            if (method, body) == ("PATCH", {}):
                continue  # it changes nothing, and may
            status, answer = await call(method, path, body, token=token)
            assert is_refusal(status, answer), (method, path, str(body)[:80], status)
        for raw, headers in RAW:
            status, answer = await call(
                method,
                path,
                token=token,
                data=raw,
                headers={"Content-Type": "application/json", **headers},
            )
            assert is_refusal(status, answer), (method, path, raw[:80], headers, status)
    status, me = await call("GET", "/v1/users/me", token=token)
    assert (status, me["name"], me["role"]) == (200, "Bo", "buyer")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "\u00fc",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyXzEifQ.",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6WzFdfQ.e30.c2ln",
        "x" * 7000,
    ],
)
async def test_no_bad_token_opens_anything(call: Caller, token: str) -> None:
    raw = f"Bearer {token}".encode().decode("latin-1")
    for method, path in (("GET", "/v1/users/me"), ("DELETE", "/v1/sessions")):
        status, answer = await call(method, path, headers={"Authorization": raw})
        assert (status, answer["code"]) == (401, "UNAUTHENTICATED")


async def test_unknown_paths_and_methods_are_problems(call: Caller) -> None:
    assert (await call("GET", "/v1/nothing"))[1]["code"] == "NOT_FOUND"
    assert (await call("PUT", "/v1/users"))[1]["code"] == "METHOD_NOT_ALLOWED"
    assert (await call("PURGE", "/v1/users"))[0] == 405


async def test_an_account_its_session_and_its_end(call: Caller) -> None:
    status, user = await call("POST", "/v1/users", changed(email="Eve@Shop.Example"))
    assert (status, user["role"], user["email"]) == (201, "buyer", "Eve@Shop.Example")
    assert set(user) == {"userId", "name", "email", "phone", "role", "createdAt"}
    status, again = await call("POST", "/v1/users", changed(email="eve@shop.example"))
    assert (status, again["code"]) == (409, "EMAIL_TAKEN")
    for email, password in (("eve@shop.example", "wrong"), ("no@shop.example", "12345678")):
        status, refused = await call(
            "POST", "/v1/sessions", {"email": email, "password": password}
        )
        assert (status, refused["code"]) == (401, "WRONG_CREDENTIALS")
    session = await call.enter("eve@shop.example")
    assert session["userId"] == user["userId"]
    assert session["expiresIn"] == 900
    token = session["accessToken"]
    status, renamed = await call("PATCH", "/v1/users/me", {"name": "Eva \U0001f600"}, token=token)
    assert (status, renamed["name"]) == (200, "Eva \U0001f600")
    status, fresh = await call(
        "POST", "/v1/sessions/refresh", {"refreshToken": session["refreshToken"]}
    )
    assert status == 200
    assert (await call("DELETE", "/v1/sessions", token=fresh["accessToken"]))[0] == 204
    assert (await call("DELETE", "/v1/sessions", token=fresh["accessToken"]))[0] == 204
    status, refused = await call(
        "POST", "/v1/sessions/refresh", {"refreshToken": fresh["refreshToken"]}
    )
    assert (status, refused["code"]) == (401, "REFRESH_REFUSED")


async def test_the_contact_is_for_the_notification_service_only(
    call: Caller, environment: dict[str, str]
) -> None:
    session = await call.enter("contact@shop.example")
    path = f"/internal/v1/users/{session['userId']}/contact"
    private = Path(environment["KEYS_FOLDER"]) / "private"

    def as_service(name: str, callee: str = "user") -> str:
        return auth.ServiceSigner(name, private / name).token(callee)

    status, contact = await call("GET", path, token=as_service("notification"))
    known = {"name": "Bo", "email": "contact@shop.example", "phone": None}
    assert (status, contact) == (200, known)
    author = path.replace("/contact", "/author")
    assert await call("GET", author, token=as_service("product")) == (200, {"name": "Bo"})
    assert (await call("GET", author, token=as_service("notification")))[0] == 403
    assert (await call("GET", path, token=as_service("checkout")))[0] == 403
    assert (await call("GET", path, token=as_service("notification", "order")))[0] == 401
    assert (await call("GET", path, token=session["accessToken"]))[0] == 401
    assert (await call("GET", path))[0] == 401
    for unknown in ("user_01h455vb4pex5vsknk084sn02q", "user_x", "%00", "1%20OR%201=1"):
        status, _ = await call(
            "GET", f"/internal/v1/users/{unknown}/contact", token=as_service("notification")
        )
        assert status == 404


ADDRESS = {
    "recipient": "Bo",
    "line1": "1 Main Road",
    "city": "Ulm",
    "postalCode": "89073",
    "country": "DE",
}


async def test_an_address_book_is_its_owners_and_checkouts(
    call: Caller, environment: dict[str, str]
) -> None:
    bo, eve = [await call.enter(f"{name}-book@shop.example") for name in ("bo", "eve")]
    book, token = "/v1/users/me/addresses", bo["accessToken"]
    status, added = await call("POST", book, ADDRESS, token=token)
    assert (status, added["line2"], added["phone"]) == (201, "", None)
    assert (await call("POST", book, ADDRESS, token=token)) == (201, added)
    one = f"{book}/{added['addressId']}"
    moved = {**ADDRESS, "city": "Bonn", "phone": "+4912345678", "label": "home"}
    status, put = await call("PUT", one, moved, token=token)
    assert (status, put) == (200, {**added, **moved})
    assert await call("GET", one, token=token) == (200, put)
    assert await call("GET", book, token=token) == (200, {"addresses": [put]})
    for method, path in (("GET", one), ("PUT", one), ("DELETE", one), ("GET", book + "/x")):
        status, refused = await call(method, path, ADDRESS, token=eve["accessToken"])
        assert (status, refused["code"]) == (404, "UNKNOWN_ADDRESS")

    private = Path(environment["KEYS_FOLDER"]) / "private"
    checkout = auth.ServiceSigner("checkout", private / "checkout").token("user")
    inner = f"/internal/v1/users/{bo['userId']}/addresses/{added['addressId']}"
    status, delivery = await call("GET", inner, token=checkout)
    assert (status, delivery["city"], "label" in delivery) == (200, "Bonn", False)
    for wrong in (inner.replace(bo["userId"], eve["userId"]), inner[:-1] + "!"):
        status, refused = await call("GET", wrong, token=checkout)
        assert (status, refused["code"]) == (404, "UNKNOWN_ADDRESS")
    assert (await call("GET", inner, token=token))[0] == 401

    adds = [call("POST", book, {**ADDRESS, "line1": str(n)}, token=token) for n in range(30)]
    statuses = [status for status, _ in await asyncio.gather(*adds)]
    assert (statuses.count(201), statuses.count(409)) == (19, 11)
    assert (await call("DELETE", one, token=token))[0] == 204
    assert (await call("DELETE", one, token=token))[0] == 404


async def test_a_new_password_and_a_log_out_everywhere_end_sessions(call: Caller) -> None:
    email = "sessions@shop.example"
    mine, other = await call.enter(email), await call.enter(email)
    token = mine["accessToken"]
    status, changed_ = await call("PATCH", "/v1/users/me", {"phone": "+4912345678"}, token=token)
    assert (status, changed_["phone"], changed_["name"]) == (200, "+4912345678", "Bo")
    assert (await call("PATCH", "/v1/users/me", {"phone": None}, token=token))[1]["phone"] is None
    path, change = "/v1/users/me/password", {"currentPassword": "no", "newPassword": "12345678"}
    status, refused = await call("PUT", path, change, token=token)
    assert (status, refused["code"]) == (403, "WRONG_PASSWORD")
    change["currentPassword"] = "12345678"
    assert (await call("PUT", path, change, token=token))[0] == 204

    async def refresh(session: dict[str, Any]) -> tuple[int, Any]:
        body = {"refreshToken": session["refreshToken"]}
        return await call("POST", "/v1/sessions/refresh", body)

    assert (await refresh(other))[1]["code"] == "REFRESH_REFUSED"
    assert (await refresh(mine))[0] == 200
    third = await call.enter(email)
    everywhere = "/v1/sessions?everywhere=true"
    assert (await call("DELETE", everywhere, token=third["accessToken"]))[0] == 204
    assert (await refresh(third))[0] == 401
    assert (await call("DELETE", "/v1/sessions?everywhere=maybe", token=token))[0] == 422


async def test_a_storm_of_guesses_at_two_copies_is_let_in_up_to_the_burst(
    call: Caller, environment: dict[str, str], tmp_path: Path
) -> None:
    await call.enter("victim@shop.example")

    async def guess(who: Caller, email: str, place: str, password: str = "wrong") -> Any:
        body = {"email": email, "password": password}
        headers = {"X-Forwarded-For": f"{place}, 127.0.0.1"}
        status, answer = await who("POST", "/v1/sessions", body, headers=headers)
        return status, answer.get("code")

    async with processes.running("user", environment, tmp_path / "copy.log") as copy:
        doors = (call, Caller(call.session, copy.url))
        for email in ("victim@shop.example", "nobody@shop.example"):
            storm = [guess(doors[n % 2], email, f"2001:db8::{n:x}") for n in range(40)]
            outcomes = await asyncio.gather(*storm)
            assert outcomes.count((401, "WRONG_CREDENTIALS")) == 10, outcomes
            assert outcomes.count((429, "RATE_LIMITED")) == 30
    right = ("victim@shop.example", "192.0.2.7", "12345678")
    assert (await guess(call, *right))[0] == 201


async def test_published_keys_verify_the_tokens_of_every_copy(
    call: Caller, environment: dict[str, str], tmp_path: Path
) -> None:
    session = await call.enter("two-copies@shop.example")
    async with processes.running("user", environment, tmp_path / "copy.log") as copy:
        other = Caller(call.session, copy.url)
        status, me = await other("GET", "/v1/users/me", token=session["accessToken"])
        assert (status, me["userId"]) == (200, session["userId"])
        documents = [
            (await one("GET", "/.well-known/jwks.json"))[1]["keys"] for one in (call, other)
        ]
    assert documents[0] == documents[1]
    assert set(documents[0][0]) == {"kty", "crv", "alg", "use", "kid", "x"}


async def test_a_crowd_signs_up_at_once_and_only_busy_is_refused(call: Caller) -> None:
    async def one(number: int) -> int:
        for _ in range(50):
            body = changed(email=f"crowd{number}@shop.example")
            status, answer = await call("POST", "/v1/users", body)
            if status != 503:
                return status
            assert answer["code"] == "BUSY"
            await asyncio.sleep(0.5)
        return 503

    assert set(await asyncio.gather(*(one(number) for number in range(100)))) == {201}


async def test_no_secret_and_no_personal_data_is_logged(
    call: Caller, service: processes.Running
) -> None:
    session = await call.enter("private@shop.example")
    await call("POST", "/v1/users", changed(email="private@shop.example"))
    for token in (session["refreshToken"], session["refreshToken"]):
        await call("POST", "/v1/sessions/refresh", {"refreshToken": token})
    async with call.session.get(f"{service.admin_url}/metrics") as answer:
        shown = await answer.text() + service.log.read_text()
    assert "refresh_token_reused" in shown
    for secret in (SECRET, "private@", "12345678", session["refreshToken"], "eyJ"):
        assert secret not in shown


def grant(environment: dict[str, str], *arguments: str, password: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "doorbuster", "user", "grant", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        input=password,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_roles_come_from_the_command_line_only(
    call: Caller, environment: dict[str, str]
) -> None:
    admin = ("--email", "Root@Shop.Example", "--role", "admin")
    code, said = await asyncio.to_thread(grant, environment, *admin)
    assert (code, "no such account" in said) == (1, True)
    code, said = await asyncio.to_thread(grant, environment, *admin, "--create")
    assert (code, "--password-stdin" in said) == (1, True)
    whole = (*admin, "--create", "--password-stdin")
    code, said = await asyncio.to_thread(grant, environment, *whole, password="short\n")
    assert code == 1
    for _ in range(2):
        code, said = await asyncio.to_thread(grant, environment, *whole, password="12345678\n")
        assert (code, "12345678" in said) == (0, False)
    session = await call.enter("root@shop.example")
    status, me = await call("GET", "/v1/users/me", token=session["accessToken"])
    assert (status, me["role"]) == (200, "admin")
    bad = ("--email", "nobody", "--role", "admin", "--create", "--password-stdin")
    code, _ = await asyncio.to_thread(grant, environment, *bad, password="12345678\n")
    assert code == 1


async def test_an_old_schema_or_a_wrong_secret_is_told_at_the_start(
    environment: dict[str, str], service: processes.Running, tmp_path: Path
) -> None:
    wrong = {**environment, "DOORBUSTER_SIGNING_KEY_SECRET": "another"}
    with pytest.raises(RuntimeError, match="DOORBUSTER_SIGNING_KEY_SECRET"):
        async with processes.running("user", wrong, tmp_path / "wrong.log"):
            pass


async def test_a_dead_database_is_unavailable_not_a_fault(
    environment: dict[str, str], call: Caller, service: processes.Running, stack: Any
) -> None:
    session = await call.enter("outage@shop.example")
    stack.kill("mariadb")
    try:
        status, answer = await call("GET", "/v1/users/me", token=session["accessToken"])
        assert (status, answer["code"], answer["retryAfter"]) == (503, "UNAVAILABLE", 1)
        async with call.session.get(f"{service.admin_url}/readyz") as ready:
            assert ready.status == 503
            assert "database" in await ready.text()
        assert (await call("GET", "/.well-known/jwks.json"))[0] == 200
    finally:
        stack.restart("mariadb")
    statuses = []
    for _ in range(100):
        statuses.append((await call("GET", "/v1/users/me", token=session["accessToken"]))[0])
        if statuses[-1] == 200:
            break
        await asyncio.sleep(0.1)
    assert statuses[-1] == 200
    assert set(statuses) <= {200, 503}
