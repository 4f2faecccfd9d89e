"""Config, ids and money: what they take, what they refuse."""

from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.kit import config, ids, money


@dataclass(frozen=True, kw_only=True)
class Example:
    url: str = config.setting("EXAMPLE_URL")
    secret: str = config.setting("EXAMPLE_SECRET", secret=True)
    limit: int = config.setting("EXAMPLE_LIMIT", int, default=7)


def test_config_reads_parses_and_defaults() -> None:
    got = config.load(Example, {"EXAMPLE_URL": "u", "EXAMPLE_SECRET": "s", "EXAMPLE_LIMIT": ""})
    assert got == Example(url="u", secret="s", limit=7)


def test_config_names_every_problem_at_once_and_shows_no_value() -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(Example, {"EXAMPLE_SECRET": "hunter2", "EXAMPLE_LIMIT": "many"})
    message = str(caught.value)
    assert "EXAMPLE_URL is not set" in message
    assert "EXAMPLE_LIMIT" in message
    assert "many" not in message
    assert "hunter2" not in message


def test_a_secret_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(Example(url="u", secret="hunter2"))


@given(st.text(min_size=1, max_size=30), st.text(max_size=200))
def test_an_order_id_is_a_function_of_buyer_and_key(user: str, key: str) -> None:
    order = ids.order_id(user, key)
    assert order == ids.order_id(user, key)
    assert ids.is_id(order, "order")
    assert order != ids.order_id(user + "x", key)
    assert order != ids.order_id(user, key + "x")


def test_moving_a_letter_from_buyer_to_key_makes_another_order() -> None:
    assert ids.order_id("user_a", "bc") != ids.order_id("user_ab", "c")


@pytest.mark.parametrize("sku", ["", "-a", "A", "a_b", "a" * 64, "a\n", "ä"])
def test_a_malformed_sku_has_no_product(sku: str) -> None:
    with pytest.raises(ValueError, match="sku"):
        ids.product_id(sku)


@pytest.mark.parametrize(
    "text", ["", "order", "order_", "order_x", "prod_" + "0" * 26, "order_" + "8" * 26]
)
def test_what_is_no_order_id(text: str) -> None:
    assert not ids.is_id(text, "order")


@given(st.integers(0, 10**15), st.sampled_from(["USD", "JPY", "KWD", "CLF"]))
def test_money_survives_the_way_out_and_in(amount: int, currency: str) -> None:
    assert money.to_minor(money.from_minor(amount, currency), currency) == amount


def test_a_cent_of_a_yen_is_refused_not_rounded() -> None:
    with pytest.raises(money.FractionTooFineError):
        money.to_minor(Decimal("1.5"), "JPY")
    assert money.to_minor(Decimal("1.0"), "JPY") == 1
    assert str(money.from_minor(99900, "USD")) == "999.00"
