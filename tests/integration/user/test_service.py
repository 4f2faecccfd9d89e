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
    assert set(user) == {"userId", "name", "email", "role", "createdAt"}
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
    assert (status, contact) == (200, {"name": "Bo", "email": "contact@shop.example"})
    assert (await call("GET", path, token=as_service("checkout")))[0] == 403
    assert (await call("GET", path, token=as_service("notification", "order")))[0] == 401
    assert (await call("GET", path, token=session["accessToken"]))[0] == 401
    assert (await call("GET", path))[0] == 401
    for unknown in ("user_01h455vb4pex5vsknk084sn02q", "user_x", "%00", "1%20OR%201=1"):
        status, _ = await call(
            "GET", f"/internal/v1/users/{unknown}/contact", token=as_service("notification")
        )
        assert status == 404


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
