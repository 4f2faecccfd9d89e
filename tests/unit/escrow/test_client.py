"""The batching of the escrow, on a Redis that is a recorder."""

import asyncio

import pytest
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from doorbuster import escrow


class Recorder:
    """Answers permits with grants; remembers the batches; may fail as Redis does."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.running = 0
        self.most_running = 0
        self.errors: list[Exception] = []
        self.forgot_scripts = False

    async def evalsha(self, sha, count, *arguments):
        if self.forgot_scripts:
            raise NoScriptError
        return await self.eval(sha, count, *arguments)

    async def eval(self, text, count, *arguments):
        if self.errors:
            raise self.errors.pop(0)
        key, items = arguments[0], (len(arguments) - count - 1) // 3
        self.batches.append((key, items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return [7, 1, b"G" * items]


def request(order: str, product: str = "p") -> escrow.PermitRequest:
    return escrow.PermitRequest(order_id=order, user_id="u", product_id=product, quantity=1)


async def test_what_waits_leaves_together_one_product_a_batch():
    recorder = Recorder()
    desk = escrow.Escrow(recorder)
    permits = await asyncio.gather(
        *(desk.permit(request(str(n), product)) for n in range(500) for product in ("p", "q"))
    )
    assert {permit.outcome for permit in permits} == {"GRANTED"}
    assert {permit.epoch for permit in permits} == {7}
    by_product = {key: 0 for key, _ in recorder.batches}
    for key, items in recorder.batches:
        by_product[key] += items
    assert by_product == {"{p}:st": 500, "{q}:st": 500}
    assert len(recorder.batches) <= 6
    assert recorder.most_running <= 4
    await desk.close()


async def test_a_redis_that_forgot_its_scripts_gets_them_again():
    recorder = Recorder()
    recorder.forgot_scripts = True
    assert (await escrow.Escrow(recorder).permit(request("a"))).outcome == "GRANTED"


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("gone"),
        OSError("no route"),
        ReadOnlyError("You can't write against a read only replica."),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ClusterDownError("The cluster is down"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ],
)
async def test_a_useless_redis_is_away_and_for_a_moment_nobody_waits_for_it(error):
    recorder = Recorder()
    recorder.errors = [error]
    desk = escrow.Escrow(recorder)
    for _ in range(3):
        with pytest.raises(escrow.EscrowAwayError):
            await desk.permit(request("a"))
    assert recorder.batches == []


async def test_a_mistake_of_ours_is_not_taken_for_an_outage():
    recorder = Recorder()
    recorder.errors = [ResponseError("ERR wrong number of arguments")]
    with pytest.raises(ResponseError):
        await escrow.Escrow(recorder).permit(request("a"))
