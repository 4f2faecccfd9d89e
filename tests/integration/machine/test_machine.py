"""No history breaks a rule, and a rule taken out of the database is missed by some history.

A run is the same every time; DOORBUSTER_MACHINE_EXAMPLES=1000 plays that many new histories instead.
"""

from collections.abc import Callable
from typing import Any

import pytest

USUAL_EXAMPLES = 60
EXAMPLES_TO_SEE_IT = 300
_SOURCE = """
SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1
UNION ALL
SELECT 'CREATE OR REPLACE VIEW ' || relname || ' AS ' || pg_get_viewdef(oid) FROM pg_class
WHERE relname = $1 AND relkind = 'v'
"""


def test_no_history_breaks_a_rule(run_histories: Callable[..., None]) -> None:
    run_histories(USUAL_EXAMPLES)


# Each takes one rule out of the database; the machine must see it. (function, what to find, what to put there)
BROKEN = {
    "no guard": [
        ("reserve_batch", "> fact.pool_room", "> fact.pool_room + 100"),
        ("reserve_batch", "fact.potential < fact.qty", "false"),
    ],
    "a pin that time can break": [
        ("expire_holds", "state = 'HELD' AND", "state IN ('HELD', 'PAYING') AND"),
    ],
    "a failure of any attempt": [
        ("decline_attempts", "r.state = 'PAYING' AND r.attempt = a.attempt", "r.state = 'PAYING'"),
    ],
    "a success counted twice": [
        ("confirm_sold", "r.state = 'PAYING'", "r.state IN ('PAYING', 'SOLD')"),
    ],
    "a final answer too early": [
        ("sale_stock", "pool.available_qty + pool.reserved_qty", "pool.available_qty"),
    ],
}

# Where to begin, so that one of the first few histories sees it.
FIRST = {
    "no guard": 2,
    "a pin that time can break": 2,
    "a failure of any attempt": 1,
    "a success counted twice": 2,
    "a final answer too early": 9,
}


@pytest.mark.parametrize("broken", sorted(BROKEN))
def test_a_rule_taken_out_of_the_database_is_missed(
    stage: Any, run_histories: Callable[..., None], broken: str
) -> None:
    async def take_out() -> None:
        connection = stage.world.connection
        for name, what, instead in BROKEN[broken]:
            text = await connection.fetchval(_SOURCE, name)
            assert what in text
            await connection.execute(text.replace(what, instead))
        for constraint in await connection.fetch(
            "SELECT conrelid::regclass::text AS of_table, conname FROM pg_constraint"
            " WHERE contype = 'c' AND conrelid IN ('inventory'::regclass, 'sale_item'::regclass)"
        ):
            await connection.execute(
                f'ALTER TABLE {constraint["of_table"]} DROP CONSTRAINT "{constraint["conname"]}"'
            )

    stage.runner.run(take_out())
    with pytest.raises(AssertionError):
        run_histories(EXAMPLES_TO_SEE_IT, first=FIRST[broken])
