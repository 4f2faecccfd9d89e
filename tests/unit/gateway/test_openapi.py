"""The description of the API: valid, complete, and true about money and rights."""

import html
import re

import pytest
from openapi_spec_validator import validate

from doorbuster.contracts import surface
from doorbuster.gateway import dialect, domain, openapi


@pytest.fixture(scope="module")
def document():
    return openapi.document()


def test_it_is_valid_openapi(document) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_every_call_is_there_once_and_nothing_else(document) -> None:
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    calls = [*surface.CALLS, *dialect.surface_calls()]
    assert described == {(call.method, call.path) for call in calls}
    assert len(described) == len(calls)


def test_operations_have_names_of_their_own(document) -> None:
    names = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(set(names)) == len(names)


def test_money_is_a_number(document) -> None:
    assert '"decimal"' not in str(document).replace("'", '"')
    price = document["components"]["schemas"]["ProductCard"]["properties"]["price"]
    assert price["type"] == "number"


@pytest.mark.parametrize("call", surface.CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_rights_and_problems_are_told(call, document) -> None:
    operation = document["paths"][call.path][call.method.lower()]
    responses = operation["responses"]
    assert str(call.status) in responses
    if call.access == "anyone":
        assert {"session": []} not in operation.get("security", []) or {} in operation["security"]
    else:
        assert operation["security"] == [{"session": []}]
        assert "UNAUTHENTICATED" in responses["401"]["description"]
    if call.access in ("merchant", "admin"):
        assert "FORBIDDEN" in responses["403"]["description"]
    for status, code in call.codes:
        assert code in responses[str(status)]["description"]


@pytest.mark.parametrize("call", surface.CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_the_door_routes_every_call_to_its_owner(call) -> None:
    path = re.sub(r"\{\w+\}", "x_1", call.path)
    rule = domain.find_rule(domain.parse_target(path))
    assert rule.owner == call.owner
    assert not (rule.signed_in and call.access == "anyone")


def test_the_page_shows_every_path_and_loads_nothing_from_elsewhere(document) -> None:
    page = openapi.page(document)
    for path in document["paths"]:
        assert html.escape(path) in page
    assert "http" not in page
    assert "<script" not in page
