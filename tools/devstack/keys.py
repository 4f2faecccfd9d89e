"""The Ed25519 keys with which services prove to each other who calls."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .state import write_atomically

CALLERS = (
    *("user", "product", "search", "cart", "checkout", "inventory", "payment", "order"),
    *("notification", "gateway", "operator"),
)


def ensure_service_keys(folder: Path) -> None:
    """``<caller>.pem`` (PKCS8, mode 0600) and ``public/<caller>.pub``, made once."""
    public = folder / "public"
    public.mkdir(exist_ok=True)
    for caller in CALLERS:
        private_path, public_path = folder / f"{caller}.pem", public / f"{caller}.pub"
        if private_path.exists() and public_path.exists():
            continue
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        spki = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_atomically(private_path, os.fsdecode(pem), mode=0o600)
        write_atomically(public_path, os.fsdecode(spki))
