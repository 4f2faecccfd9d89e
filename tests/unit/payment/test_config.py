"""Settings that must not be are refused before anything starts."""

import dataclasses

import pytest

from doorbuster.kit import config
from doorbuster.payment.config import PaymentConfig


def _settings(**more: str) -> PaymentConfig:
    names = [field.metadata["env"] for field in dataclasses.fields(PaymentConfig)]
    needed = {
        name: "x" for name in names if name.startswith("DOORBUSTER_") and "SECONDS" not in name
    }
    return config.load(PaymentConfig, needed | {"DOORBUSTER_ALLOW_RAW_CARDS": "no"} | more)


def test_a_log_that_would_show_cards_is_refused() -> None:
    with pytest.raises(config.ConfigError, match="STRIPE_LOG"):
        _settings(STRIPE_LOG="debug").require_sane()


def test_recovery_may_not_overtake_a_call() -> None:
    with pytest.raises(config.ConfigError, match="RECOVER_SECONDS"):
        _settings(DOORBUSTER_PAYMENT_RECOVER_SECONDS="10").require_sane()
    _settings(DOORBUSTER_PAYMENT_RECOVER_SECONDS="10.5").require_sane()


def test_secrets_are_not_shown() -> None:
    assert "sk_test_hidden" not in repr(_settings(DOORBUSTER_PSP_KEY="sk_test_hidden"))


def test_raw_cards_are_off_by_default() -> None:
    field = {field.name: field for field in dataclasses.fields(PaymentConfig)}["allow_raw_cards"]
    assert field.default is False
