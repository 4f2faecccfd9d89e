"""The sold-out bit: short, exact, and never for an owner."""

from doorbuster.checkout.domain.soldout import LIFE_SECONDS, SoldOutBits


def bits(**changed):
    made = SoldOutBits()
    known = {"epoch": 3, "owners": frozenset({"order_a"}), "monotonic": 10.0, **changed}
    made.set("prod_x", 1, **known)
    return made


def covers(made, order_id="order_b", *, quantity=1, epoch=3, at=10.1, product="prod_x"):
    return made.covers(product, quantity, order_id, epoch=epoch, monotonic=at)


def test_a_stranger_is_covered_and_an_owner_is_not():
    made = bits()
    assert covers(made)
    assert not covers(made, "order_a")


def test_other_products_and_quantities_are_not_covered():
    assert not covers(bits(), product="prod_y")
    assert not covers(bits(), quantity=2)


def test_a_bit_ends_after_its_life_and_at_a_newer_epoch():
    assert not covers(bits(), at=10.0 + LIFE_SECONDS)
    assert not covers(bits(), epoch=4)
    assert covers(bits(), epoch=2)


def test_the_number_of_bits_is_bounded():
    made = SoldOutBits()
    for number in range(3_000):
        made.set(f"prod_{number}", 1, epoch=1, owners=frozenset(), monotonic=10.0)
    assert len(made._bits) == 1_000
    made.set("prod_late", 1, epoch=1, owners=frozenset(), monotonic=11.0)
    assert covers(made, product="prod_late", epoch=1, at=11.1)
    assert len(made._bits) == 1
