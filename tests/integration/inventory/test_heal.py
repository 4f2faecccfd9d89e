"""What dies in between is repaired: overdue permits, expired holds, a lost Redis, lost words of payment."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from doorbuster.contracts import internal
from doorbuster.escrow import Permit, PermitRequest
from doorbuster.inventory.usecases.pay import PinSweep
from doorbuster.kit import client, ids


async def permit(shop, sku, order, user=None) -> Permit:
    return await shop.escrow.permit(
        PermitRequest(
            order_id=order,
            user_id=user or f"user_{order}",
            product_id=ids.product_id(sku),
            quantity=1,
        )
    )


async def reap_overdue(shop, sku) -> None:
    """Run the permit reaper until no permit is in flight."""
    async with asyncio.timeout(5):
        while (await shop.permits_left(sku))[1] > 0:
            await shop.permits.step()
            await asyncio.sleep(0.02)


async def test_a_permit_nobody_uses_comes_back_and_its_order_id_is_dead(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    assert (await permit(shop, sku, f"{sku}-a")).outcome == "GRANTED"
    await reap_overdue(shop, sku)
    assert await shop.state(f"{sku}-a") == "TOMB"
    assert await shop.permits_left(sku) == (1, 0)
    assert (await shop.direct(sku, f"{sku}-a")).outcome == "RELEASED"
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "HELD"


async def test_a_reserve_that_comes_before_the_reaper_keeps_its_units(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    granted = await permit(shop, sku, f"{sku}-a")
    # Reserved past the escrow, so that nobody settles: the process died right after the commit.
    line = shop.line(sku, epoch=granted.epoch)
    await shop.ledger.reserve([shop.item(f"{sku}-a", line)])
    await reap_overdue(shop, sku)
    assert await shop.state(f"{sku}-a") == "HELD"
    assert await shop.permits_left(sku) == (0, 0)
    assert await shop.counters(sku) == (0, 1, 0)


async def test_the_primary_key_decides_between_reserve_and_burial(shop, sku):
    await shop.pool(sku, 60)
    await shop.sale(sku)
    orders = [f"{sku}-{n}" for n in range(60)]
    answers, _ = await asyncio.gather(
        asyncio.gather(*(shop.direct(sku, order) for order in orders)),
        asyncio.gather(*(shop.ledger.bury([order]) for order in orders)),
    )
    for order, answer in zip(orders, answers, strict=True):
        state = await shop.state(order)
        assert (answer.outcome, state) in {("HELD", "HELD"), ("RELEASED", "TOMB")}
    held = sum(answer.outcome == "HELD" for answer in answers)
    assert await shop.counters(sku) == (60 - held, held, 0)


async def test_an_expired_hold_is_released_once_with_its_event_and_its_permit(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.reserver.close()
    await shop.row(
        "UPDATE reservation SET expires_at = clock_timestamp() WHERE order_id = $1", f"{sku}-a"
    )
    await asyncio.gather(*(shop.holds.step() for _ in range(5)))
    await asyncio.gather(*(shop.returns.step() for _ in range(5)))
    assert await shop.counters(sku) == (1, 0, 0)
    assert await shop.permits_left(sku) == (1, 0)
    assert await shop.pin(f"{sku}-a") == "EXPIRED"
    row = await shop.row(
        "SELECT count(*) AS events, min(topic) AS topic, min(payload) AS payload FROM outbox"
        " WHERE event_key = $1 AND type = 'OrderExpired'",
        f"{sku}-a",
    )
    assert (row["events"], row["topic"]) == (1, "sale.shop.drop.orders")
    assert f"user_{sku}-a" in row["payload"]


async def test_a_pinned_order_is_never_released_by_time(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.pin(f"{sku}-a")
    await shop.expire(f"{sku}-a")
    assert await shop.state(f"{sku}-a") == "PAYING"
    await shop.payments.fail([internal.Attempt(order_id=f"{sku}-a", attempt=1)])
    assert await shop.state(f"{sku}-a") == "RELEASED"
    assert await shop.counters(sku) == (1, 0, 0)


async def test_a_release_in_flight_is_counted_once(shop, sku):
    """Reserved, released and only then settled: the settlement drops the permit, the return brings the unit."""
    await shop.pool(sku, 1)
    await shop.sale(sku)
    granted = await permit(shop, sku, f"{sku}-a")
    line = shop.line(sku, epoch=granted.epoch)
    await shop.ledger.reserve([shop.item(f"{sku}-a", line)])
    await shop.expire(f"{sku}-a")
    assert await shop.permits_left(sku) == (1, 1)
    await reap_overdue(shop, sku)
    assert await shop.permits_left(sku) == (1, 0)


async def test_a_flushed_redis_is_cold_and_then_warm_again_without_overselling(
    shop, sku, fresh_redis
):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    for n in range(2):
        assert (await shop.buy(sku, f"{sku}-{n}")).outcome == "HELD"
    lost = await permit(shop, sku, f"{sku}-lost")
    async with Redis.from_url(fresh_redis) as client_of_test:
        await client_of_test.flushdb()
    assert (await shop.buy(sku, f"{sku}-cold")).outcome == "COLD"
    await shop.reconciler.step()
    assert await shop.permits_left(sku) == (3, 0)
    stale = shop.item(f"{sku}-lost", shop.line(sku, epoch=lost.epoch))
    assert await shop.reserve(stale) == ["STALE_EPOCH"]
    results = await asyncio.gather(*(shop.buy(sku, f"{sku}-n{n}") for n in range(20)))
    assert Counter(result.outcome for result in results) == {"HELD": 3, "WAITING": 17}
    assert await shop.counters(sku) == (0, 5, 0)


async def test_asking_to_warm_a_warm_product_changes_nothing(shop, sku):
    await shop.pool(sku, 5)
    state = await shop.sale(sku)
    await asyncio.gather(*(shop.warmer.warm([ids.product_id(sku)]) for _ in range(3)))
    await shop.reconciler.step()
    states = await shop.room.sales(0)
    assert [s.items[0].epoch for s in states.sales if s.uid == state.uid] == [state.items[0].epoch]


@pytest.mark.parametrize("permits", [0, 9])
async def test_permits_that_drifted_are_put_right_after_a_second_look(
    shop, sku, fresh_redis, permits
):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    slot = f"{{{ids.product_id(sku)}}}:st"
    async with Redis.from_url(fresh_redis) as client_of_test:
        await client_of_test.hset(slot, "a", permits)
    await shop.reconciler.step()
    assert await shop.permits_left(sku) == (permits, 0)
    await shop.reconciler.step()
    assert await shop.permits_left(sku) == (5, 0)


async def test_phantom_permits_do_not_oversell(shop, sku, fresh_redis):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    async with Redis.from_url(fresh_redis) as client_of_test:
        await client_of_test.hset(f"{{{ids.product_id(sku)}}}:st", "a", 30)
    results = await asyncio.gather(*(shop.buy(sku, f"{sku}-{n}") for n in range(40)))
    assert Counter(result.outcome for result in results) == {"HELD": 5, "WAITING": 35}
    await shop.settle()
    assert await shop.permits_left(sku) == (0, 0)
    assert await shop.counters(sku) == (0, 5, 0)


async def test_a_redis_rolled_back_is_noticed_by_its_new_run(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    await shop.row(
        "UPDATE inventory SET loaded_run_id = 'another run' WHERE product_id = $1",
        ids.product_id(sku),
    )
    (state,) = [s for s in (await shop.room.sales(0)).sales if s.uid == f"uid-{sku}"]
    assert (state.armed, state.armed_reason) == (False, "NotLoaded")
    await shop.reconciler.step()
    (state,) = [s for s in (await shop.room.sales(0)).sales if s.uid == f"uid-{sku}"]
    assert (state.armed, state.armed_reason) == (True, "Armed")


async def test_a_return_from_before_a_load_is_not_added_to_it(shop, sku):
    await shop.pool(sku, 2)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.reserver.close()
    await shop.row(
        "UPDATE reservation SET expires_at = clock_timestamp() WHERE order_id = $1", f"{sku}-a"
    )
    await shop.holds.step()
    await shop.pool(sku, 3, generation=2)
    assert await shop.permits_left(sku) == (3, 0)
    await shop.returns.step()
    assert await shop.permits_left(sku) == (3, 0)
    row = await shop.row(
        "SELECT count(*) AS left FROM permit_return WHERE order_id = $1", f"{sku}-a"
    )
    assert row["left"] == 0


async def test_a_hold_of_an_older_epoch_comes_back_into_the_new_one(shop, sku):
    await shop.pool(sku, 2)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.pool(sku, 3, generation=2)
    assert await shop.permits_left(sku) == (2, 0)
    await shop.expire(f"{sku}-a")
    assert await shop.permits_left(sku) == (3, 0)
    assert (await shop.buy(sku, f"{sku}-a")).outcome == "RELEASED"
    await shop.settle()
    assert await shop.permits_left(sku) == (3, 0)


async def test_a_reversed_payment_is_a_restock_once(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.pin(f"{sku}-a")
    paid = [internal.Attempt(order_id=f"{sku}-a", attempt=1)]
    await shop.payments.succeed(paid)
    await shop.payments.succeed(paid)
    assert await shop.counters(sku) == (0, 0, 1)
    state = await shop.sale(sku)
    assert state.sold_out_time is not None
    await shop.payments.reverse(paid)
    await shop.payments.reverse(paid)
    await shop.payments.succeed(paid)
    assert await shop.state(f"{sku}-a") == "RETURNED"
    assert await shop.counters(sku) == (1, 0, 0)
    assert await shop.permits_left(sku) == (1, 0)
    assert (await shop.buy(sku, f"{sku}-b")).outcome == "HELD"


async def test_a_reversal_heard_before_the_success_returns_the_units(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-a")
    await shop.pin(f"{sku}-a")
    paid = [internal.Attempt(order_id=f"{sku}-a", attempt=1)]
    await shop.payments.reverse(paid)
    await shop.payments.succeed(paid)
    assert await shop.state(f"{sku}-a") == "RETURNED"
    assert await shop.counters(sku) == (1, 0, 0)


class Payment:
    """Answers the pin sweep from a table; nothing when it is away."""

    def __init__(self, **verdicts: str) -> None:
        self.words = verdicts
        self.is_away = False

    async def verdicts(self, attempts):
        if self.is_away:
            raise client.UnavailableError("payment does not answer")
        return [
            internal.Verdict(
                order_id=attempt.order_id,
                attempt=attempt.attempt,
                verdict=self.words.get(attempt.order_id.rpartition("-")[2], "UNKNOWN"),
            )
            for attempt in attempts
        ]


async def test_the_pin_sweep_moves_only_what_payment_is_sure_of(shop, sku):
    await shop.pool(sku, 5)
    await shop.sale(sku)
    names = ("paid", "failed", "reversed", "pending", "strange")
    for name in names:
        await shop.buy(sku, f"{sku}-{name}")
        await shop.pin(f"{sku}-{name}")
    payment = Payment(paid="SUCCEEDED", failed="FAILED", reversed="REVERSED", pending="PENDING")
    sweep = PinSweep(shop.ledger, payment, shop.payments, older_than_seconds=0.0)
    payment.is_away = True
    await sweep.step()
    assert await shop.counters(sku) == (0, 5, 0)
    payment.is_away = False
    await sweep.step()
    states = [await shop.state(f"{sku}-{name}") for name in names]
    assert states == ["SOLD", "HELD", "RETURNED", "PAYING", "PAYING"]
    assert await shop.counters(sku) == (1, 3, 1)


async def test_young_pins_are_left_alone(shop, sku):
    await shop.pool(sku, 1)
    await shop.sale(sku)
    await shop.buy(sku, f"{sku}-paid")
    await shop.pin(f"{sku}-paid")
    sweep = PinSweep(
        shop.ledger, Payment(paid="SUCCEEDED"), shop.payments, older_than_seconds=60.0
    )
    await sweep.step()
    assert await shop.state(f"{sku}-paid") == "PAYING"
