"""The whole public API on its real servers, and five people who call it: nobody, two buyers, a merchant, an admin."""

import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from devstack.errors import StackError
from devstack.services import doorbuster_command

PARTS = (
    *("nginx", "gateway", "user", "product", "search", "cart", "checkout", "inventory"),
    *("payment", "order", "notification", "psp"),
)
# The door is not what is tested here.
RATES = dict.fromkeys(
    ("DOORBUSTER_RATE_ADDRESS", "DOORBUSTER_RATE_USER", "DOORBUSTER_RATE_SIGN_UP"),
    "100000/100000",
) | {"DOORBUSTER_RATE_LOG_IN": "100000/100000"}
SECONDS = 20.0
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Person:
    """Somebody who calls the API; ``name`` is how he is called in a test's id."""

    name: str
    url: str
    user_id: str = ""
    token: str = field(default="", repr=False)

    def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **rest: Any
    ) -> requests.Response:
        """Make one call."""
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return requests.request(
            method, self.url + path, headers={**own, **(headers or {})}, timeout=SECONDS, **rest
        )


@pytest.fixture(scope="session")
def shop(stack) -> Iterator[dict[str, str]]:
    """The addresses of a stack whose gateways let everybody ask as often as he likes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in RATES.items():
            patch.setenv(name, value)
        try:
            stack.stop("gateway-0")
            stack.stop("gateway-1")
            stack.up(only=PARTS)
        except StackError as error:
            pytest.fail(str(error), pytrace=False)
        yield stack.env()


@pytest.fixture(scope="session")
def people(shop) -> dict[str, Person]:
    """Everybody by name."""
    url = shop["DOORBUSTER_PUBLIC_URL"]
    nobody = Person("nobody", url)
    merchant_email = _sign_up(nobody, "merchant")
    _grant(shop, merchant_email, "merchant")
    buyers = {name: _log_in(nobody, name, _sign_up(nobody, name)) for name in ("buyer", "other")}
    admin = _log_in(
        nobody, "admin", shop["DOORBUSTER_ADMIN_EMAIL"], shop["DOORBUSTER_ADMIN_PASSWORD"]
    )
    merchant = _log_in(nobody, "merchant", merchant_email)
    return {"nobody": nobody, **buyers, "merchant": merchant, "admin": admin}


@pytest.fixture(scope="session")
def enter(people) -> Callable[[str], Person]:
    """``enter("buyer")`` signs somebody in anew."""
    return lambda name: _log_in(people["nobody"], name, _sign_up(people["nobody"], name))


def _sign_up(nobody: Person, name: str) -> str:
    email = f"{name}-{uuid.uuid4().hex[:12]}@surface.example"
    body = {"name": name.title(), "email": email, "password": PASSWORD}
    answer = nobody.ask("POST", "/v1/users", json=body)
    assert answer.status_code == 201, answer.text
    return email


def _log_in(nobody: Person, name: str, email: str, password: str = PASSWORD) -> Person:
    answer = nobody.ask("POST", "/v1/sessions", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    session = answer.json()
    return Person(name, nobody.url, session["userId"], session["accessToken"])


def _grant(env: Mapping[str, str], email: str, role: str) -> None:
    argv = doorbuster_command("user", "grant", "--email", email, "--role", role)
    done = subprocess.run(
        argv, env=dict(env), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
