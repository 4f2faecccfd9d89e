"""The properties of a FlashSale about its topic; seen in Kafka."""

from collections.abc import Callable
from functools import partial
from typing import Any

from .stage import SALE, Stage, until
from .table import Verdict, mutates, refusal, swing


def _topic(stage: Stage, name: str, field: str) -> Callable[[], Any]:
    async def look() -> Any:
        return (await stage.topic(name) or {}).get(field)

    return look


@mutates("FlashSale.messaging.partitions")
async def partitions(stage: Stage) -> Verdict:
    name, _ = await stage.sale()
    look = _topic(stage, name, "partitions")
    await until(look, lambda seen: seen == 3, "the topic's partitions")
    await stage.change(SALE, name, {"messaging": {"partitions": 5}})
    went = await until(look, lambda seen: seen == 5, "the topic's partitions")
    await refusal(stage, SALE, name, {"messaging": {"partitions": 3}}, look)
    return Verdict(seen_in="Kafka's partitions, which only grow", there_seconds=went)


@mutates("FlashSale.messaging.replicationFactor")
async def replication_factor(stage: Stage) -> Verdict:
    name, _ = await stage.sale()
    look = _topic(stage, name, "copies")
    await until(look, lambda seen: seen == 1, "the topic's copies")
    change = {"messaging": {"replicationFactor": 2}}
    return Verdict(words=await refusal(stage, SALE, name, change, look))


@mutates("FlashSale.messaging.retentionSeconds")
async def retention(stage: Stage) -> Verdict:
    name, _ = await stage.sale()
    return await swing(
        stage,
        SALE,
        name,
        there={"messaging": {"retentionSeconds": 7200}},
        back={"messaging": {"retentionSeconds": 604_800}},
        look=_topic(stage, name, "retention"),
        values=(604_800_000, 7_200_000),
        seen_in="Kafka's retention",
    )


def _is_there(wanted: bool, seen: object) -> bool:
    return (seen is not None) == wanted


@mutates("FlashSale.messaging.reclaimPolicy")
async def reclaim_policy(stage: Stage) -> Verdict:
    """It matters when the sale goes: one goes with the policy changed, one with the policy changed back."""
    (changed, _), (restored, _) = await stage.sale(), await stage.sale()
    seconds = []
    for name, is_kept in ((changed, False), (restored, True)):
        look = _topic(stage, name, "partitions")
        await until(look, lambda seen: seen == 3, "the topic")
        await stage.change(SALE, name, {"messaging": {"reclaimPolicy": "Delete"}})
        if is_kept:
            await stage.change(SALE, name, {"messaging": {"reclaimPolicy": "Retain"}})
        await stage.delete(SALE, name)
        is_right = partial(_is_there, is_kept)
        seconds.append(await until(look, is_right, "the topic"))
    await stage.forget_topic(restored)
    return Verdict(
        seen_in="Kafka's topic after the sale", there_seconds=seconds[0], back_seconds=seconds[1]
    )
