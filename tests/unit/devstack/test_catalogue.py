"""Parts: all are found, each has what it requires, and the order respects it."""

from collections.abc import Mapping

import pytest
from typing_extensions import override

from devstack import catalogue
from devstack.errors import StackError
from devstack.part import Part


class Fake(Part):
    def __init__(self, name: str, *requires: str) -> None:
        self.name = name
        self.requires = requires

    @override
    def launch(self, site):
        raise NotImplementedError

    @override
    def ready(self, site):
        return None


def fakes(**requires: tuple[str, ...]) -> Mapping[str, Part]:
    return {name: Fake(name, *needs) for name, needs in requires.items()}


def test_every_server_and_service_of_the_platform_is_found():
    found = set(catalogue.all_parts())
    servers = {"postgres", "mariadb", "redis", "kafka", "etcd", "apiserver", "smtp", "nginx"}
    services = {"psp", "user", "inventory", "checkout-0", "checkout-1", "payment", "order"}
    assert servers | services <= found
    assert {"notification", "gateway-0", "gateway-1", "operator"} <= found


def test_whatever_a_part_requires_exists_and_no_port_key_is_shared():
    parts = catalogue.all_parts()
    assert set(catalogue.closure(parts, parts)) == set(parts)
    keys = [key for part in parts.values() for key in part.port_keys]
    assert len(keys) == len(set(keys))


def test_closure_puts_requirements_first_and_nothing_else_in():
    parts = fakes(a=(), b=("a",), c=("b",), d=())
    assert catalogue.closure(["c"], parts) == ("a", "b", "c")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(StackError, match="no part called 'x'") as caught:
        catalogue.closure(["x"], fakes(a=()))
    assert "a" in caught.value.hint


def test_a_circle_is_refused():
    with pytest.raises(StackError, match="circle"):
        catalogue.closure(["a"], fakes(a=("b",), b=("a",)))


def test_a_service_name_means_all_its_copies():
    parts = catalogue.all_parts()
    assert catalogue.expand(["checkout", "redis"], parts) == ("checkout-0", "checkout-1", "redis")


def test_dependents_are_those_that_require_a_part_directly():
    parts = fakes(a=(), b=("a",), c=("a", "b"))
    found = catalogue.dependents(["a", "b", "c"], parts)
    assert found == {"a": ("b", "c"), "b": ("c",), "c": ()}


def test_what_only_tests_ask_for_is_required_by_nothing_of_the_platform():
    parts = catalogue.all_parts()
    named = {name for name, part in parts.items() if part.only_when_named}
    cluster = {f"redis-cluster-{number}" for number in range(3)}
    assert named == {"stripe-mock", "faketime", *cluster}
    platform = catalogue.closure(set(parts) - named, parts)
    assert named.isdisjoint(platform)
