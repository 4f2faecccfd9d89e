"""What libraries log: structured, and not ten times a second."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from doorbuster.kit import telemetry


@pytest.fixture
def lines() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def test_a_message_that_repeats_itself_appears_every_ten_seconds(
    lines: list[structlog.typing.EventDict],
) -> None:
    now = 0.0
    library = logging.Logger("library")
    library.addHandler(telemetry.LibraryHandler(lambda: now))
    for step in range(301):
        now = step / 10
        library.error("Topic %s not found", f"t{step}")
    assert [line["message"] for line in lines] == [
        f"Topic t{step} not found" for step in (0, 100, 200, 300)
    ]
    assert {(line["event"], line["logger"], line["log_level"]) for line in lines} == {
        ("library_log", "library", "error")
    }


def test_other_messages_are_not_held_back(lines: list[structlog.typing.EventDict]) -> None:
    library = logging.Logger("library")
    library.addHandler(telemetry.LibraryHandler(lambda: 0.0))
    library.error("one")
    library.warning("two")
    assert [line["message"] for line in lines] == ["one", "two"]


def test_a_message_without_end_is_cut(lines: list[structlog.typing.EventDict]) -> None:
    library = logging.Logger("library")
    library.addHandler(telemetry.LibraryHandler())
    library.error("x" * 100_000)
    assert len(lines[0]["message"]) == 500
