"""What a request means, which order it names, what it costs."""

from decimal import Decimal

import pytest

from doorbuster.checkout.domain import orders, refusals
from doorbuster.contracts import api
from doorbuster.kit import ids

PHONE, CASE = ids.product_id("phone"), ids.product_id("case")


def line(product_id=PHONE, quantity=1, price=None):
    return api.CheckoutLine(product_id=product_id, quantity=quantity, price=price)


def read(*lines, user="user_1", key="k", fresh="fresh", version=None, **more):
    request = api.Checkout(products=list(lines), **more)
    return orders.read_request(user, request, key=key, fresh_key=fresh, cart_version=version)


def test_same_user_and_key_name_the_same_order():
    assert read(line()).order_id == read(line(quantity=2)).order_id == ids.order_id("user_1", "k")


def test_another_user_with_the_same_key_names_another_order():
    assert read(line()).order_id != read(line(), user="user_2").order_id


def test_the_order_of_lines_and_the_writing_of_prices_change_nothing():
    first = read(line(PHONE, price=Decimal("10.00")), line(CASE, price=Decimal("-0")))
    again = read(line(CASE, price=Decimal("0.0")), line(PHONE, price=Decimal("1e1")))
    assert first.request_hash == again.request_hash
    assert [entry.product_id for entry in first.lines] == sorted([PHONE, CASE])


@pytest.mark.parametrize(
    "other",
    [line(quantity=2), line(CASE), line(price=Decimal(1))],
    ids=["quantity", "product", "price"],
)
def test_another_body_has_another_hash(other):
    assert read(line()).request_hash != read(other).request_hash


def test_without_a_key_the_same_version_of_a_cart_is_one_order():
    cart = "cart_01h455vb4pex5vsknk084sn02q"
    first = read(line(), key=None, cart_id=cart, fresh="a", version=3)
    again = read(line(), key=None, cart_id=cart, fresh="b", version=3)
    assert first.order_id == again.order_id
    refilled = read(line(), key=None, cart_id=cart, version=4)
    assert first.order_id != refilled.order_id


def test_without_a_key_and_a_cart_every_request_is_a_new_order():
    assert read(line(), key=None, fresh="a").order_id != read(line(), key=None, fresh="b").order_id


def test_a_client_cannot_write_a_derived_key():
    derived = read(line(), key=None, fresh="a")
    assert derived.order_id != read(line(), key="a").order_id


def test_a_product_may_appear_once():
    with pytest.raises(refusals.DuplicateProductError) as refused:
        read(line(), line(CASE), line(quantity=2))
    assert refused.value.product_id == PHONE


def test_the_address_and_the_code_belong_to_the_body_and_a_code_has_one_spelling():
    bare = read(line())
    coded = read(line(), discount_code="save10")
    sent = read(line(), address_id="addr_01h455vb4pex5vsknk084sn02q")
    assert len({bare.request_hash, coded.request_hash, sent.request_hash}) == 3
    assert coded == read(line(), discount_code="Save10")
    assert coded.discount_code == "SAVE10"
    assert bare.is_bare
    assert not coded.is_bare


def test_the_hash_of_a_bare_request_is_that_of_the_release_before():
    known = "774f9dc1"  # so that a retry across the upgrade is the same request
    assert read(line(quantity=2, price=Decimal("9.90"))).request_hash.startswith(known)


def test_every_outcome_but_held_has_a_refusal(sale):
    outcomes = set(orders._REFUSALS)
    from typing import get_args

    from doorbuster.contracts import internal

    assert outcomes | {"HELD"} == set(get_args(internal.ReserveOutcome))
