"""Signing the crowd up and in before the sale, and the file (mode 0600) that lets the next run skip most of it."""

import asyncio
import contextlib
import os
import pathlib
import random
import secrets
import ssl
import time
from collections.abc import Callable, Sequence

import msgspec

from .plan import Plan
from .shop import Answer, NoAnswerError, Visitor

IN_FLIGHT = 12  # the user service hashes on two threads: more would only queue there
TRIES = 40
TRY_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 3.0


class EnrolmentError(Exception):
    """A buyer could not be signed up or in."""


class Credential(msgspec.Struct, kw_only=True):
    """How one buyer gets in; ``refresh_token`` is used once and replaced."""

    email: str
    password: str
    user_id: str = ""
    refresh_token: str = ""


class CredentialBook(msgspec.Struct, kw_only=True):
    """The credentials of a crowd by buyer's name."""

    buyers: dict[str, Credential] = {}


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """A buyer who is in: his id and the token of his requests."""

    user_id: str
    access_token: str


def read_book(path: pathlib.Path) -> CredentialBook:
    """Return the book kept at ``path``, an empty one when there is none or it cannot be read."""
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=CredentialBook)
    return CredentialBook()


def write_book(path: pathlib.Path, book: CredentialBook) -> None:
    """Replace the book at ``path``, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(book))
    scratch.replace(path)


async def enrol(
    url: str,
    plans: Sequence[Plan],
    book: CredentialBook,
    progress: Callable[[int], None] = lambda done: None,
    *,
    tls: ssl.SSLContext | None = None,
) -> dict[str, Entrance]:
    """Bring every buyer in and keep the book up to date: by refresh, else log-in, else sign-up.

    Returns entrances by buyer's name; ``progress`` is told how many are in. Raises EnrolmentError.
    """
    entrances: dict[str, Entrance] = {}
    waiting = iter(plans)
    async with Visitor(url, plans[0].address, tls=tls) as visitor:

        async def usher() -> None:
            for plan in waiting:  # shared by all ushers: each takes the next buyer
                credential = book.buyers.setdefault(plan.name, _new_credential(plan.name))
                entrances[plan.name] = await _bring_in(visitor, plan.address, credential)
                progress(len(entrances))

        try:
            async with asyncio.TaskGroup() as ushers:
                for _ in range(min(IN_FLIGHT, len(plans))):
                    ushers.create_task(usher())
        except ExceptionGroup as errors:
            raise EnrolmentError(str(errors.exceptions[0])) from errors
    return entrances


def _new_credential(name: str) -> Credential:
    return Credential(
        email=f"{name}.{secrets.token_hex(5)}@buyers.example", password=secrets.token_urlsafe(18)
    )


async def _bring_in(visitor: Visitor, address: str, credential: Credential) -> Entrance:
    if credential.refresh_token:
        body = {"refreshToken": credential.refresh_token}
        credential.refresh_token = ""
        answer = await _ask(visitor, address, "/v1/sessions/refresh", body)
        if answer.is_success:
            return _entrance(answer, credential)
    if credential.user_id:
        answer = await _log_in(visitor, address, credential)
        if answer.is_success:
            return _entrance(answer, credential)
    sign_up = {
        "name": credential.email.partition(".")[0],
        "email": credential.email,
        "password": credential.password,
    }
    # A conflict says that an earlier try came through whose answer was lost: logging in decides.
    answer = await _ask(visitor, address, "/v1/users", sign_up)
    if not answer.is_success and answer.status != 409:
        raise EnrolmentError(f"sign-up was refused: {answer.status} {answer.code}")
    answer = await _log_in(visitor, address, credential)
    if not answer.is_success:
        raise EnrolmentError(f"log-in was refused: {answer.status} {answer.code}")
    return _entrance(answer, credential)


async def _log_in(visitor: Visitor, address: str, credential: Credential) -> Answer:
    body = {"email": credential.email, "password": credential.password}
    return await _ask(visitor, address, "/v1/sessions", body)


def _entrance(answer: Answer, credential: Credential) -> Entrance:
    credential.user_id = answer.body["userId"]
    credential.refresh_token = answer.body["refreshToken"]
    return Entrance(user_id=credential.user_id, access_token=answer.body["accessToken"])


async def _ask(visitor: Visitor, address: str, path: str, body: dict[str, str]) -> Answer:
    """Ask until there is a definite answer; raises EnrolmentError after a minute."""
    deadline = time.monotonic() + TRY_SECONDS
    last = "no answer"
    for attempt in range(TRIES):
        pause = min(LONGEST_PAUSE_SECONDS, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)
        try:
            answer = await visitor.call("POST", path, body=body, address=address)
        except NoAnswerError as error:
            last = f"no answer ({error})"
        else:
            if answer.is_definite and answer.status != 429:
                return answer
            last = f"{answer.status} {answer.code}"
            pause = max(pause, answer.retry_after or 0.0)
        if time.monotonic() + pause > deadline:
            break
        await asyncio.sleep(pause)
    raise EnrolmentError(f"POST {path}: {last}")
