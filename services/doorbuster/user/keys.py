"""The key ring: signing keys made, sealed, published and changed by any number of copies without talking.

A key is born in the table and is in every copy's JWKS a few seconds later, but signs only after a minute, when
every copy has read it; the very first one signs at once. Its private half is stored under AES-256-GCM with a key
derived from a secret that the database does not know.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from doorbuster.kit import auth, process, telemetry
from doorbuster.kit.clock import Clock

from .domain import (
    ACCESS_TOKEN_LIFE,
    Account,
    SigningKey,
    next_key_number,
    published_keys,
    signing_key,
)
from .ports import SigningKeys

RELOAD_SECONDS = 10.0
_NONCE_BYTES = 12
_SALT = b"doorbuster signing keys"


class Seal:
    """Encrypts private keys for the table; the key id is bound in, so that rows cannot be swapped."""

    def __init__(self, secret: str) -> None:
        derive = HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=b"aes-256-gcm")
        self._cipher = AESGCM(derive.derive(secret.encode()))

    def close(self, key: Ed25519PrivateKey, kid: str) -> str:
        """Return the private key, encrypted, as text."""
        raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, raw, kid.encode())).decode()

    def open(self, sealed: str, kid: str) -> Ed25519PrivateKey:
        """Return the private key; raises StartError when the secret is another one."""
        data = base64.b64decode(sealed)
        try:
            raw = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], kid.encode())
        except InvalidTag:
            raise process.StartError(
                f"the signing key {kid} cannot be decrypted: DOORBUSTER_SIGNING_KEY_SECRET is not"
                " the one it was stored with"
            ) from None
        return Ed25519PrivateKey.from_private_bytes(raw)


class KeyRing:
    """This copy's view of the signing keys; :meth:`refresh` brings it up to date."""

    def __init__(self, store: SigningKeys, seal: Seal, clock: Clock) -> None:
        self._store = store
        self._seal = seal
        self._clock = clock
        self._keys: Sequence[SigningKey] = ()
        self._private: dict[str, Ed25519PrivateKey] = {}

    async def refresh(self) -> None:
        """Read the keys, make the next one when it is time; raises StartError on a wrong secret."""
        keys = await self._store.all()
        number = next_key_number(keys, self._clock())
        if number is not None:
            if await self._store.add(self._new_key(number)):
                telemetry.log().info("signing_key_made", number=number)
            keys = await self._store.all()
        shown = published_keys(keys, self._clock())
        for key in shown:
            if key.kid not in self._private:
                self._private[key.kid] = self._seal.open(key.sealed_private, key.kid)
        self._keys = shown

    def _new_key(self, number: int) -> SigningKey:
        private = Ed25519PrivateKey.generate()
        kid = f"u{number}-{secrets.token_hex(4)}"
        public = private.public_key()
        return SigningKey(
            number=number,
            kid=kid,
            public_pem=public.public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ).decode(),
            sealed_private=self._seal.close(private, kid),
            created_at=self._clock(),
        )

    def jwks(self) -> bytes:
        """Return the JWKS document of all keys whose tokens may be alive."""
        public: dict[str, Ed25519PublicKey] = {}
        for key in published_keys(self._keys, self._clock()):
            loaded = load_pem_public_key(key.public_pem.encode())
            assert isinstance(loaded, Ed25519PublicKey), "we stored another kind of key"
            public[key.kid] = loaded
        return auth.jwks_document(public)

    def access_token(self, account: Account, session_id: str, now: datetime) -> str:
        """Return a token that is good for ``ACCESS_TOKEN_LIFE``."""
        kid = signing_key(self._keys, now).kid
        issued = int(now.timestamp())
        claims = {
            "iss": auth.ISSUER,
            "aud": auth.USER_AUDIENCE,
            "sub": account.user_id,
            "role": account.role,
            "sid": session_id,
            "iat": issued,
            "exp": issued + int(ACCESS_TOKEN_LIFE.total_seconds()),
        }
        return jwt.encode(claims, self._private[kid], algorithm="EdDSA", headers={"kid": kid})
