"""Identifiers: TypeIDs, random (UUIDv7) or derived from what they name."""

import hashlib
import re
from uuid import UUID, uuid5

import uuid_utils
from typeid import TypeID

NS_DOORBUSTER = UUID("6b1f2c9e-0d3a-5c77-9a51-d0042b057e20")
SKU = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")


def new_id(prefix: str) -> str:
    """Return a fresh ``prefix_…`` id made of a UUIDv7."""
    return str(TypeID(prefix=prefix))


def product_id(sku: str) -> str:
    """Return the product id of a sku; computed everywhere, never looked up.

    Raises ValueError when the sku is malformed.
    """
    if not SKU.fullmatch(sku):
        raise ValueError(
            "a sku is 1 to 63 lower-case letters, digits and dashes and starts with no dash"
        )
    return _typeid("prod", uuid5(NS_DOORBUSTER, sku))


def order_id(user_id: str, idempotency_key: str) -> str:
    """Return the order id of a buyer's idempotency key (UUIDv8 of a SHA-256, RFC 9562 section 5.8)."""
    digest = hashlib.sha256(f"{user_id}\x00{idempotency_key}".encode()).digest()
    value = int.from_bytes(digest[:16], "big")
    value = (value & ~(0xF << 76)) | (8 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return _typeid("order", UUID(int=value))


def _typeid(prefix: str, value: UUID) -> str:
    return str(TypeID.from_uuid(uuid_utils.UUID(int=value.int), prefix=prefix))


def is_id(text: str, prefix: str) -> bool:
    """Tell whether ``text`` is a well-formed TypeID with this prefix."""
    try:
        return TypeID.from_string(text).prefix == prefix
    except Exception:  # noqa: BLE001,RUF100 - the library raises several kinds for one fact
        return False


def fingerprint(body: bytes) -> str:
    """Return a hash that tells whether two requests are the same."""
    return hashlib.sha256(body).hexdigest()
