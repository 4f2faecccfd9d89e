"""Ports: remembered ones stay, the wish is granted when it can be, the rest is free and distinct."""

import pytest

from devstack import ports
from devstack.errors import StackError


def counting(start: int):
    numbers = iter(range(start, start + 10_000))
    return lambda low, high: next(numbers)


def test_a_known_port_is_kept_even_while_it_is_in_use():
    chosen = ports.choose(["redis"], known={"redis": 15000}, preferred={}, free=lambda p: False)
    assert chosen == {"redis": 15000}


def test_the_preferred_port_is_taken_when_it_is_free():
    chosen = ports.choose(
        ["nginx"], known={}, preferred={"nginx": 8080}, free=lambda p: True, draw=counting(15000)
    )
    assert chosen == {"nginx": 8080}


def test_another_port_is_drawn_when_the_preferred_one_is_taken():
    chosen = ports.choose(
        ["nginx"],
        known={},
        preferred={"nginx": 8080},
        free=lambda port: port != 8080,
        draw=counting(15000),
    )
    assert chosen == {"nginx": 15000}


def test_no_port_is_given_twice_nor_one_in_use():
    keys = [f"part-{number}" for number in range(50)]
    chosen = ports.choose(
        keys,
        known={"old": 15001},
        preferred={},
        free=lambda port: port % 2 == 1,
        draw=counting(15000),
    )
    assert len(set(chosen.values())) == 51
    assert all(port % 2 == 1 for port in chosen.values())


def test_ports_are_drawn_below_the_ephemeral_range():
    seen = []

    def draw(low: int, high: int) -> int:
        seen.append((low, high))
        return low

    ports.choose(["a"], known={}, preferred={}, free=lambda port: True, floor=32768, draw=draw)
    assert seen == [(ports.LOWEST, 32767)]


def test_the_search_for_a_free_port_ends():
    with pytest.raises(StackError, match="no free port"):
        ports.choose(["a"], known={}, preferred={}, free=lambda port: False, floor=32768)


def test_what_another_stack_remembers_is_never_drawn():
    chosen = ports.choose(
        ["a", "b"],
        known={},
        preferred={},
        reserved={15000, 15001},
        free=lambda port: True,
        draw=counting(15000),
    )
    assert chosen == {"a": 15002, "b": 15003}
