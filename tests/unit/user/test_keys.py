"""The key ring: made once by many copies, sealed, changed without anybody noticing."""

import asyncio
import json
from datetime import timedelta

import jwt
import pytest

from doorbuster.kit import process
from doorbuster.testing.accounts import FakeClock, FakeSigningKeys, build_account
from doorbuster.user import domain
from doorbuster.user.keys import KeyRing, Seal

MINUTE = timedelta(minutes=1)


def ring(store: FakeSigningKeys, clock: FakeClock, secret: str = "secret") -> KeyRing:
    return KeyRing(store, Seal(secret), clock)


def kids(one: KeyRing) -> list[str]:
    return [entry["kid"] for entry in json.loads(one.jwks())["keys"]]


async def test_copies_that_start_at_once_share_one_key() -> None:
    store, clock = FakeSigningKeys(), FakeClock()
    rings = [ring(store, clock) for _ in range(5)]
    await asyncio.gather(*(one.refresh() for one in rings))
    assert len(store.rows) == 1
    assert len({tuple(kids(one)) for one in rings}) == 1


async def test_another_secret_is_told_at_the_start_and_not_repeated() -> None:
    store, clock = FakeSigningKeys(), FakeClock()
    await ring(store, clock).refresh()
    with pytest.raises(process.StartError, match="DOORBUSTER_SIGNING_KEY_SECRET") as refused:
        await ring(store, clock, "another").refresh()
    assert "another" not in str(refused.value)


async def test_a_sealed_key_opens_only_under_its_own_id() -> None:
    store, clock = FakeSigningKeys(), FakeClock()
    await ring(store, clock).refresh()
    sealed = store.rows[1].sealed_private
    seal = Seal("secret")
    seal.open(sealed, store.rows[1].kid)
    with pytest.raises(process.StartError):
        seal.open(sealed, "u9-00000000")


async def test_nobody_meets_a_token_whose_key_he_cannot_know() -> None:
    store, clock = FakeSigningKeys(), FakeClock()
    one, other = ring(store, clock), ring(store, clock)
    for copy in (one, other):
        await copy.refresh()
    clock.move(domain.KEY_USE)
    await one.refresh()  # makes the second key
    clock.move(MINUTE / 2)
    await other.refresh()  # reads it, half a minute later
    clock.move(MINUTE / 2)
    assert len(kids(one)) == 2
    token = one.access_token(build_account(), "sess_1", clock())
    assert jwt.get_unverified_header(token)["kid"] in kids(other)
    assert jwt.get_unverified_header(token)["kid"] == store.rows[2].kid


async def test_claims_are_those_of_the_contract() -> None:
    clock = FakeClock()
    made = ring(FakeSigningKeys(), clock)
    await made.refresh()
    token = made.access_token(build_account(role="admin"), "sess_1", clock())
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims == {
        "iss": "doorbuster",
        "aud": "api",
        "sub": build_account().user_id,
        "role": "admin",
        "sid": "sess_1",
        "iat": int(clock().timestamp()),
        "exp": int(clock().timestamp()) + 900,
    }
