"""What a text may look like: nothing gets past a pattern by a line end."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from doorbuster.contracts import surface

KINDS = sorted(
    {call.body for call in surface.CALLS if call.body}
    | {call.query for call in surface.CALLS if call.query},
    key=lambda kind: kind.__name__,
)


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name == "pattern":
                yield value
            else:
                yield from patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns(value)


FOUND = sorted(set(patterns(msgspec.json.schema_components(KINDS)[1])))


def test_there_are_patterns() -> None:
    assert len(FOUND) > 8


@pytest.mark.parametrize("pattern", FOUND)
def test_no_pattern_takes_a_line_end_for_the_end(pattern: str) -> None:
    assert pattern.endswith(r"$(?!\n)")
    assert not re.search(pattern, "+491234567890\n")
    assert not re.search(pattern, "EUR\n")
    assert not re.search(pattern, "a@b\n")
