"""Every property of both schemas is changed on the running platform, and the system follows or says why not."""

import asyncio

import pytest

from mutate import run, schema, stage, table


async def test_every_property_is_followed_or_refused_and_none_is_ignored(servers, stack):
    environment = servers("inventory", "operator")
    async with (
        run.supervised(stack),
        stage.open_stage(environment, stack.layout.keys) as platform,
    ):
        paths = schema.properties()
        outcomes = await run.mutate_all(platform, paths, print)
        await platform.clear()
    summary = run.summarize(outcomes, len(paths), 0.0)
    assert [outcome.line() for outcome in outcomes if outcome.verdict is None] == []
    assert summary.properties_in_schema == summary.mutated == 34
    assert (summary.followed, summary.refused_with_message, summary.ignored) == (32, 2, 0)


async def test_a_property_that_nobody_knows_how_to_mutate_counts_as_ignored():
    (outcome,) = await run.mutate_all(None, ["FlashSale.colour"], print)
    assert outcome.line() == "IGNORED  FlashSale.colour: nobody has said how to mutate it"
    assert run.summarize([outcome], 1, 0.0).ignored == 1


async def test_a_system_that_does_not_follow_counts_as_ignored(monkeypatch):
    async def deaf(_):
        async def look():
            return "as before"

        await stage.until(look, lambda seen: seen == "changed", "the gate")

    monkeypatch.setattr(stage, "FOLLOWS_WITHIN_SECONDS", 0.0)
    monkeypatch.setitem(table.MUTATIONS, "FlashSale.colour", deaf)
    (outcome,) = await run.mutate_all(None, ["FlashSale.colour"], print)
    assert "the gate: still as before" in outcome.problem
    assert run.summarize([outcome], 1, 0.0).ignored == 1


async def test_a_change_that_should_have_been_refused_counts_as_ignored():
    class Lenient:
        async def change(self, kind, name, spec):
            await asyncio.sleep(0)

    async def look():
        return 1

    with pytest.raises(stage.IgnoredError, match="should have been refused"):
        await table.refusal(Lenient(), "FlashSale", "drop", {"items": []}, look)
