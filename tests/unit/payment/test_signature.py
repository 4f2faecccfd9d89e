"""Whose webhooks are believed."""

import hashlib
import hmac
import time

from doorbuster.payment.clients import is_signed

PAYLOAD = b'{"type": "payment_intent.succeeded"}'


def _signed(secret: str) -> str:
    at = int(time.time())
    digest = hmac.new(secret.encode(), f"{at}.".encode() + PAYLOAD, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def test_what_the_secret_signed_is_believed() -> None:
    assert is_signed(PAYLOAD, _signed("whsec_1"), "whsec_1")
    assert not is_signed(PAYLOAD + b" ", _signed("whsec_1"), "whsec_1")
    assert not is_signed(PAYLOAD, _signed("whsec_2"), "whsec_1")


def test_without_a_secret_nothing_is_believed() -> None:
    assert not is_signed(PAYLOAD, _signed(""), "")
