"""The rows of the crash table about the stores: release, return, epoch, Redis lost or old, PostgreSQL's crash."""

import asyncio
import contextlib
import socket
import subprocess

import pytest

from chaos import faults
from chaos.scene import until

GRACE_SECONDS = 10.0
HOLD_SECONDS = 2
HEALED_WITHIN = 2.0 + GRACE_SECONDS  # the reconciler's two looks
RETURN_SECONDS = 3.0 + GRACE_SECONDS  # the lease of a return


async def in_step(stage, scene, within_seconds=HEALED_WITHIN):
    """Wait until Redis would hand out what is available, at PostgreSQL's epoch."""

    async def both():
        return await stage.stores.permits(scene.product), await stage.stores.units(scene.product)

    return await until(
        "Redis in step",
        both,
        lambda seen: (
            seen[0] is not None
            and (seen[0].free, seen[0].unsettled, seen[0].epoch)
            == (seen[1].available, 0, seen[1].epoch)
        ),
        within_seconds=within_seconds,
    )


async def is_returned_once(stage, scene, buyer):
    # Whoever died with a return in hand keeps it until his lease runs out.
    await until(
        "the return to end",
        lambda: stage.stores.returns(scene.product),
        lambda left: left == 0,
        within_seconds=RETURN_SECONDS,
    )
    permits, units = await in_step(stage, scene)
    assert units.available == permits.free == scene.units
    assert await stage.stores.reservation(buyer.order_id) == "RELEASED"


async def test_release_that_redis_was_not_told_of_is_returned_once(stage, tmp_path):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.release.committed")
        await buyer.hold()
        await life.died()
        assert await stage.stores.reservation(buyer.order_id) == "RELEASED"
        assert await stage.stores.returns(scene.product) == 1
        assert (await stage.stores.permits(scene.product)).free == scene.units - 1
        await stage.start("inventory")
        await is_returned_once(stage, scene, buyer)
        await scene.judge()


async def test_return_that_was_given_back_and_not_deleted_adds_no_second_permit(stage, tmp_path):
    async with stage.sale(tmp_path, hold_seconds=HOLD_SECONDS) as scene:
        buyer = scene.buyers[0]
        life = await stage.arm("inventory", "inventory.return.given_back")
        await buyer.hold()
        await life.died()
        assert await stage.stores.returns(scene.product) == 1
        assert (await stage.stores.permits(scene.product)).free == scene.units
        await stage.start("inventory")
        await is_returned_once(stage, scene, buyer)
        await scene.judge()


@pytest.mark.parametrize(
    "point",
    ["inventory.epoch.bumped", pytest.param("inventory.epoch.loaded", marks=pytest.mark.variant)],
)
async def test_epoch_that_was_started_and_not_loaded_is_warmed(stage, tmp_path, point):
    async with stage.sale(tmp_path) as scene:
        life = await stage.arm("inventory", point)
        before = await stage.stores.units(scene.product)
        with contextlib.suppress(ConnectionError):
            await scene.keeper.put_pool(scene.sku, scene.units + 1, generation=2)
        await life.died()
        after = await stage.stores.units(scene.product)
        assert (after.available, after.epoch) == (scene.units + 1, before.epoch + 1)
        loaded = (await stage.stores.permits(scene.product)).epoch
        assert loaded == (before.epoch if point.endswith("bumped") else after.epoch)
        await stage.start("inventory")
        permits, _ = await in_step(stage, scene)
        assert permits.free == scene.units + 1
        await scene.judge()


@pytest.mark.parametrize(
    "fault",
    [faults.RedisFlush(), faults.Kill("redis"), faults.RedisRollback(age_seconds=0.5)],
    ids=lambda fault: fault.name,
)
async def test_redis_that_forgets_or_remembers_wrongly_sells_nothing_twice(stage, tmp_path, fault):
    async with stage.sale(tmp_path, units=3) as scene:
        early, during, late = scene.buyers[:3]
        await early.hold()
        striking = asyncio.create_task(fault.strike(stage.stack))
        await during.hold()
        await striking
        assert await late.press_on() == "HELD"
        await fault.heal(stage.stack)
        await in_step(stage, scene)
        for buyer in (early, during, late):
            assert await buyer.pay_on() == "PAID"
        picture = await scene.judge()
        assert picture.permits == 0


async def test_redis_that_fails_over_to_a_replica_that_lags_sells_nothing_twice(stage, tmp_path):
    async with stage.sale(tmp_path, units=3) as scene, lagging_replica(stage, tmp_path) as replica:
        first, second, third = scene.buyers[:3]
        await first.hold()
        await replica.leave()  # it knows of the first permit, and of nothing after it
        await second.hold()
        assert await second.pay_on() == "PAID"
        await stage.kill("redis")
        await replica.take_over()
        assert await first.pay_on() == "PAID"
        assert await third.press_on() == "HELD"
        permits, _ = await in_step(stage, scene)
        assert permits.free == 0
        assert await third.pay_on() == "PAID"
        await scene.judge()
        await replica.end()
        await stage.start("redis")


class Replica:
    """A second Redis: a replica that is cut off and later promoted on the first one's port."""

    def __init__(self, stage, child, port) -> None:
        site = stage.stack.site
        self._stores = stage.stores
        self._child = child
        self._port = site.port("redis")
        self._secret = site.secret("redis")
        self._url = f"redis://:{self._secret}@127.0.0.1:{port}/0"

    async def follow(self):
        """Copy the primary and keep up with it."""
        async with self._stores.redis(self._url) as client:
            await client.config_set("masterauth", self._secret)
            await client.execute_command("REPLICAOF", "127.0.0.1", self._port)

    async def is_in_step(self):
        async with self._stores.redis(self._url) as client:
            seen = await client.info("replication")
        return seen.get("master_link_status") == "up"

    async def leave(self):
        """Hear no more of the primary, but keep what was heard."""
        await until("the replica", self.is_in_step, bool, within_seconds=GRACE_SECONDS)
        async with self._stores.redis(self._url) as primary:
            await primary.execute_command("REPLICAOF", "127.0.0.1", 1)

    async def take_over(self):
        """Be the primary from now on, under the address that everybody knows."""
        async with self._stores.redis(self._url) as client:
            await client.execute_command("REPLICAOF", "NO", "ONE")
            await client.config_set("port", self._port)

    async def end(self):
        """Give the port back."""
        if self._child.poll() is None:
            self._child.kill()
        await asyncio.to_thread(self._child.wait, GRACE_SECONDS)


@contextlib.asynccontextmanager
async def lagging_replica(stage, folder):
    """A replica of the stack's Redis on a port of its own."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    with (folder / "replica.log").open("wb") as log:
        child = await asyncio.to_thread(
            subprocess.Popen,
            [
                *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
                *("--requirepass", stage.stack.site.secret("redis"), "--save", ""),
                *("--dir", str(folder)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    replica = Replica(stage, child, port)
    try:

        async def following():
            await replica.follow()
            return True

        await until("the replica answers", following, bool, within_seconds=GRACE_SECONDS)
        await until("the replica follows", replica.is_in_step, bool, within_seconds=GRACE_SECONDS)
        yield replica
    finally:
        await replica.end()


async def test_postgres_that_crashes_in_the_middle_of_reserves_keeps_what_it_said(stage, tmp_path):
    async with stage.sale(tmp_path, units=4) as scene:
        first = scene.buyers[0]
        await first.hold()
        crash = faults.PostgresCrash()
        pressing = [asyncio.create_task(buyer.press_on()) for buyer in scene.buyers[1:4]]
        await crash.strike(stage.stack)
        await crash.heal(stage.stack)
        assert await asyncio.gather(*pressing) == ["HELD"] * 3
        assert await first.press() == "HELD"
        for buyer in scene.buyers[:4]:
            assert await buyer.pay_on() == "PAID"
        await scene.judge()
