"""The list of failpoints: each point of the sources is in docs/failpoints.md and the other way round."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
PASSED = re.compile(r'failpoints\.reach\(\s*"([a-z_.]+)"|failpoints\.lose_reply\(\s*"([a-z_.]+)"')
LISTED = re.compile(r"`([a-z][a-z_]*(?:\.[a-z_]+)+)`")


def in_sources():
    found = []
    for path in (PROJECT / "services").rglob("*.py"):
        found += [
            reached or f"{lost}.reply_lost" for reached, lost in PASSED.findall(path.read_text())
        ]
    return found


def in_docs():
    _, _, rows = (PROJECT / "docs" / "failpoints.md").read_text().partition("## The rows")
    names = set(LISTED.findall(rows.partition("## Every route")[0]))
    return {name for name in names if not name.startswith("http.")}


def test_every_point_is_listed_and_every_listed_point_exists():
    points = set(in_sources())
    listed = {name.removesuffix(".stopped") for name in in_docs()}
    assert points == listed


def test_a_name_stands_for_one_place():
    points = in_sources()
    assert len(points) == len(set(points))


def test_every_row_is_walked():
    tests = "".join(path.read_text() for path in _tests_on_real_servers())
    unwalked = {name for name in in_docs() if f'"{name}' not in tests}
    # What was done is done: a death there has a step repeated that changes nothing the second time.
    assert unwalked == {
        "notification.letter.sent",
        "checkout.discount.given_back",
        "inventory.let_go.committed",
    }


def _tests_on_real_servers():
    folders = ("chaos", "contract", "e2e", "integration")
    return (path for name in folders for path in (PROJECT / "tests" / name).rglob("*.py"))
