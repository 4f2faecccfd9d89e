"""Who is calling: EdDSA tokens of users (checked against a JWKS) and of services (checked against mounted keys)."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

ISSUER = "doorbuster"
USER_AUDIENCE = "api"
USER_TOKEN_SECONDS = 15 * 60
SERVICE_TOKEN_SECONDS = 5 * 60
LEEWAY_SECONDS = 30
# A peer whose clock is farther away is not followed: a token of then might be good for long in other hands.
MOST_SKEW_SECONDS = 15 * 60
FOLLOW_EVERY_SECONDS = 60.0
_RENEW_BEFORE_SECONDS = 60
_RELOAD_SECONDS = 5.0
_CACHED_TOKENS = 20_000


class UnauthenticatedError(Exception):
    """The request carries no valid token."""


class ForbiddenError(Exception):
    """The caller is known but may not do this."""


@dataclass(frozen=True, kw_only=True)
class UserClaims:
    """What an access token says of its user."""

    user_id: str
    role: str
    session_id: str


@dataclass(frozen=True, kw_only=True)
class ServiceClaims:
    """What a service token says of its caller."""

    caller: str


class _TokenCache:
    """Remembers verified tokens until they expire, so that a busy buyer costs one signature check."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Any]] = {}

    def get(self, token: str) -> Any | None:
        entry = self._known.get(token)
        if entry is None or entry[0] <= time.time():
            return None
        return entry[1]

    def put(self, token: str, expires_at: float, claims: Any) -> None:
        if len(self._known) >= _CACHED_TOKENS:
            self._known.clear()
        self._known[token] = (expires_at, claims)


def bearer(authorization: str | None) -> str:
    """Return the token of an Authorization header; raises UnauthenticatedError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise UnauthenticatedError("an Authorization header with a bearer token is needed")
    return token


def public_jwk(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    """Return a public key as a JWK (RFC 8037)."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}


class UserVerifier:
    """Checks access tokens against the user service's JWKS; known keys outlive an outage of that service.

    ``fetch`` returns the JWKS document; its errors pass through only while no key is known.
    """

    def __init__(self, fetch: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._fetch = fetch
        self._keys: dict[str, Any] = {}
        self._fetched_at = 0.0
        self._fetching = asyncio.Lock()
        self._cache = _TokenCache()

    async def ready(self) -> None:
        """Fetch the keys unless some are known; raises what ``fetch`` raised."""
        if not self._keys:
            await self._refresh("")

    async def verify(self, token: str) -> UserClaims:
        """Return the claims; raises UnauthenticatedError."""
        cached: UserClaims | None = self._cache.get(token)
        if cached is not None:
            return cached
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError as error:
            raise UnauthenticatedError("the access token is malformed") from error
        if kid not in self._keys:
            await self._refresh(kid)
        if kid not in self._keys:
            raise UnauthenticatedError("the access token is signed with an unknown key")
        payload = _decode(token, self._keys[kid], USER_AUDIENCE, ("exp", "sub", "role", "sid"))
        claims = UserClaims(
            user_id=payload["sub"], role=payload["role"], session_id=payload["sid"]
        )
        self._cache.put(token, payload["exp"], claims)
        return claims

    async def _refresh(self, wanted_kid: str) -> None:
        """Fetch the keys, one request for all who wait; an outage counts only while no key is known."""
        async with self._fetching:
            if wanted_kid in self._keys:
                return
            if self._keys and time.monotonic() - self._fetched_at < _RELOAD_SECONDS:
                return
            self._fetched_at = time.monotonic()
            try:
                document = await self._fetch()
            except (OSError, TimeoutError):
                if not self._keys:
                    raise
                return
            self._keys = {
                entry["kid"]: jwt.PyJWK(entry).key
                for entry in document.get("keys", [])
                if entry.get("crv") == "Ed25519" and entry.get("kid")
            }


def _decode(token: str, key: Any, audience: str, required: tuple[str, ...]) -> dict[str, Any]:
    try:
        payload: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            audience=audience,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": list(required)},
        )
    except jwt.ExpiredSignatureError as error:
        raise UnauthenticatedError("the token has expired") from error
    except jwt.InvalidTokenError as error:
        raise UnauthenticatedError("the token is not valid") from error
    return payload


class ServiceSigner:
    """Signs this service's own tokens with its mounted key, one per callee, renewed before they expire."""

    def __init__(self, name: str, key_file: Path) -> None:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"the key of {name} is no Ed25519 private key")
        self.name = name
        self._key = key
        self._kid = key_file.stem
        self._tokens: dict[str, tuple[float, str]] = {}
        self._offsets: dict[str, float] = {}
        self._followed_at: dict[str, float] = {}

    def follow(self, audience: str, moment: datetime) -> bool:
        """Reckon by the clock of ``audience``, which is at ``moment``; tells whether its tokens change by that.

        A clock that is more than ``MOST_SKEW_SECONDS`` away is not believed, and none twice within a minute.
        """
        offset = moment.timestamp() - time.time()
        if abs(offset - self._offsets.get(audience, 0.0)) < LEEWAY_SECONDS:
            return False
        now = time.monotonic()
        is_early = now - self._followed_at.get(audience, float("-inf")) < FOLLOW_EVERY_SECONDS
        if is_early or abs(offset) > MOST_SKEW_SECONDS:
            return False
        self._followed_at[audience] = now
        self._offsets[audience] = offset
        self._tokens.pop(audience, None)
        return True

    def token(self, audience: str) -> str:
        """Return a token for ``audience`` that is good for at least a minute."""
        renew_at, token = self._tokens.get(audience, (0.0, ""))
        now = time.time() + self._offsets.get(audience, 0.0)
        if now < renew_at:
            return token
        payload = {
            "iss": ISSUER,
            "sub": self.name,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + SERVICE_TOKEN_SECONDS,
        }
        token = jwt.encode(payload, self._key, algorithm="EdDSA", headers={"kid": self._kid})
        self._tokens[audience] = (now + SERVICE_TOKEN_SECONDS - _RENEW_BEFORE_SECONDS, token)
        return token


class ServiceVerifier:
    """Checks tokens of other services.

    The directory holds ``<caller>.pub`` or, while a key is rotated, also ``<caller>.<anything>.pub``;
    a key id that is not known makes it look again, at most every few seconds.
    """

    def __init__(self, name: str, keys_dir: Path) -> None:
        self._name = name
        self._keys_dir = keys_dir
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._loaded_at = 0.0
        self._cache = _TokenCache()
        self._load()

    def verify(self, token: str) -> ServiceClaims:
        """Return who calls; raises UnauthenticatedError."""
        cached: ServiceClaims | None = self._cache.get(token)
        if cached is not None:
            return cached
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError as error:
            raise UnauthenticatedError("the service token is malformed") from error
        if kid not in self._keys and time.monotonic() - self._loaded_at >= _RELOAD_SECONDS:
            self._load()
        if kid not in self._keys:
            raise UnauthenticatedError("the service token is signed with an unknown key")
        payload = _decode(token, self._keys[kid], self._name, ("exp", "sub"))
        if payload["sub"] != kid.split(".")[0]:
            raise UnauthenticatedError("the service token was signed by somebody else")
        claims = ServiceClaims(caller=payload["sub"])
        self._cache.put(token, payload["exp"], claims)
        return claims

    def _load(self) -> None:
        keys: dict[str, Ed25519PublicKey] = {}
        for path in sorted(self._keys_dir.glob("*.pub")):
            key = load_pem_public_key(path.read_bytes())
            if isinstance(key, Ed25519PublicKey):
                keys[path.stem] = key
        self._keys = keys
        self._loaded_at = time.monotonic()


def jwks_document(keys: dict[str, Ed25519PublicKey]) -> bytes:
    """Return a JWKS document (RFC 7517) of these public keys by key id."""
    return json.dumps({"keys": [public_jwk(kid, key) for kid, key in keys.items()]}).encode()
