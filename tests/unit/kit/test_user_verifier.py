"""Checking users' tokens: keys are fetched once for all who wait and outlive their publisher."""

import asyncio
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorbuster.kit import auth


class Publisher:
    """A user service: publishes what it signs with."""

    def __init__(self) -> None:
        self.keys = {"k1": Ed25519PrivateKey.generate()}
        self.fetches = 0
        self.is_away = False

    async def fetch(self) -> dict[str, Any]:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise ConnectionError("away")
        public = {kid: key.public_key() for kid, key in self.keys.items()}
        document: dict[str, Any] = json.loads(auth.jwks_document(public))
        return document

    def token(self, number: int = 1, kid: str = "k1", **changed: Any) -> str:
        now = int(time.time())
        claims = {"iss": auth.ISSUER, "aud": auth.USER_AUDIENCE, "sub": f"user_{number}"}
        claims |= {"role": "buyer", "sid": "sess_1", "iat": now, "exp": now + 900, **changed}
        key = self.keys.get(kid) or Ed25519PrivateKey.generate()
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})


async def test_a_crowd_at_the_start_fetches_the_keys_once() -> None:
    publisher = Publisher()
    verifier = auth.UserVerifier(publisher.fetch)
    claims = await asyncio.gather(*(verifier.verify(publisher.token(n)) for n in range(100)))
    assert [one.user_id for one in claims] == [f"user_{n}" for n in range(100)]
    assert publisher.fetches == 1


async def test_unknown_keys_do_not_hammer_the_user_service() -> None:
    publisher = Publisher()
    verifier = auth.UserVerifier(publisher.fetch)
    await verifier.verify(publisher.token())
    for number in range(20):
        with pytest.raises(auth.UnauthenticatedError):
            await verifier.verify(publisher.token(kid=f"strange-{number}"))
    assert publisher.fetches == 1


async def test_known_keys_outlive_an_outage_and_none_is_told() -> None:
    publisher = Publisher()
    verifier = auth.UserVerifier(publisher.fetch)
    publisher.is_away = True
    with pytest.raises(ConnectionError):
        await verifier.ready()
    publisher.is_away = False
    await verifier.ready()
    publisher.is_away = True
    await verifier.ready()
    assert (await verifier.verify(publisher.token(7))).user_id == "user_7"


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": int(time.time()) - 31},
        {"aud": "checkout"},
        {"iss": "somebody"},
        {"sub": None},
        {"sub": 5},
        {"exp": "soon"},
    ],
)
async def test_a_token_of_another_kind_is_refused(changed: dict[str, Any]) -> None:
    publisher = Publisher()
    verifier = auth.UserVerifier(publisher.fetch)
    with pytest.raises(auth.UnauthenticatedError):
        await verifier.verify(publisher.token(**changed))


async def test_a_token_signed_by_a_stranger_under_a_known_name_is_refused() -> None:
    publisher, stranger = Publisher(), Publisher()
    verifier = auth.UserVerifier(publisher.fetch)
    with pytest.raises(auth.UnauthenticatedError):
        await verifier.verify(stranger.token())


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer \udcff", "Bearer ü.x.y"]
)
def test_what_is_no_bearer_token_signs_nobody_in(header: str | None) -> None:
    with pytest.raises(auth.UnauthenticatedError):
        auth.bearer(header)
