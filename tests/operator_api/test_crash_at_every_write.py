"""A fixed part of `make crash-every-write`: ten kills of a real operator, one for each kind of peer and write."""

import pytest

from crash import campaign, report
from crash.tape import Spot, Trap

AT_ONCE = 6
# The name of the write, which of its kind it is, and whether the answer is withheld.
KILLS = (
    ("POST fence", 1, True),
    ("PATCH flashsales/finalizers +", 1, True),
    ("CreateTopics topic", 1, True),
    ("PATCH flashsales/status Scheduled NotYet NotYet", 1, True),
    ("PATCH hpa minReplicas 4", 1, True),
    ("PUT gate Active", 1, False),
    ("PUT stock 5", 1, True),
    ("CREATE event SaleSoldOut", 1, False),
    ("DeleteTopics topic", 1, True),
    ("PATCH flashsales/finalizers -", 1, False),
)


@pytest.fixture
def parts(servers, stack):
    servers(*campaign.PARTS)
    return stack


async def test_a_killed_operator_ends_where_an_undisturbed_one_does(parts, tmp_path):
    traps = [Trap(Spot(name, number), is_withheld) for name, number, is_withheld in KILLS]
    async with campaign.open_campaign(parts, tmp_path / "crash") as opened:
        learned, *outcomes = await campaign.run_all(opened, [None, *traps], at_once=AT_ONCE)
    assert learned.ending is not None, learned.violations
    assert len(learned.spots) >= 20
    assert learned.violations == []
    lines = [report.line(each, learned.ending) for each in outcomes]
    assert [line for line in lines if not line.lstrip().startswith("same")] == []
