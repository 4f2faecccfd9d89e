"""What was given back is told again until order and inventory know it, whichever of them is away."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from doorbuster.payment import domain
from doorbuster.payment.domain import Charge, Purchase, State
from doorbuster.testing import payments


def counted(kind: str, **labels: str) -> float:
    """Return a counter of the reversal sweep."""
    labels["worker"] = "reversal_sweep"
    return REGISTRY.get_sample_value(f"doorbuster_worker_{kind}_total", labels) or 0.0


async def give_back(shop: Any, bought: Purchase, end: State) -> None:
    """Sell an order and give its money back in one of three ways; the broker loses all that was told."""
    attempt = await shop.pay(bought)
    if end is State.VOIDED:
        await shop.reversal.ask(bought.order_id, "changed my mind")
    elif end is State.CAPTURE_FAILED:
        shop.provider.intents[attempt.intent_id].charge = Charge(status="cancelled")
    await shop.capture.step()
    if end is State.REFUNDED:
        await shop.reversal.ask(bought.order_id, "changed my mind")
    await shop.reversal.step()
    assert shop.state(bought) is end
    shop.store.told.clear()


ENDS = {
    State.VOIDED: "changed my mind",
    State.REFUNDED: "changed my mind",
    State.CAPTURE_FAILED: "authorisation_lost",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("who", ["confirmed", "holding"])
async def test_it_is_told_again_until_both_know(
    shop: Any, bought: Purchase, end: State, who: str
) -> None:
    await give_back(shop, bought, end)
    getattr(shop.others, who).add(bought.order_id)
    await shop.reversal_sweep.step()
    assert shop.told() == [], "it may be under way still"
    for _ in range(2):
        shop.clock.pass_by(11)
        await shop.sweep.step()
        await shop.reversal_sweep.step()
        [(topic, event)] = shop.store.told
        assert (topic, event.type, event.attempt) == ("orders", "PaymentReversed", 1)
        assert event.reason == ENDS[end]
        shop.store.told.clear()
    getattr(shop.others, who).clear()
    shop.clock.pass_by(11)
    await shop.reversal_sweep.step()
    assert (shop.told(), shop.store.ask_at[(bought.order_id, 1)]) == ([], None)


async def test_what_both_know_is_not_told_again(shop: Any, bought: Purchase) -> None:
    await give_back(shop, bought, State.REFUNDED)
    before = counted("repaired", outcome="known")
    shop.clock.pass_by(11)
    await shop.reversal_sweep.step()
    assert shop.told() == []
    assert counted("repaired", outcome="known") == before + 1
    assert await shop.reversal_sweep.oldest_seconds() == 0


@pytest.mark.parametrize(
    ("away", "reason", "who"),
    [("unreversed", "order_away", "holding"), ("unreturned", "inventory_away", "confirmed")],
)
async def test_one_that_is_away_does_not_keep_the_other_waiting(
    shop: Any, bought: Purchase, away: str, reason: str, who: str
) -> None:
    await give_back(shop, bought, State.REFUNDED)
    getattr(shop.others, who).add(bought.order_id)
    shop.others.away.add(away)
    before = counted("postponed", reason=reason)
    shop.clock.pass_by(11)
    with pytest.raises(ConnectionError):
        await shop.reversal_sweep.step()
    assert shop.told() == ["PaymentReversed"]
    assert counted("postponed", reason=reason) == before + 1
    getattr(shop.others, who).clear()
    shop.store.told.clear()
    shop.clock.pass_by(11)
    with pytest.raises(ConnectionError):
        await shop.reversal_sweep.step()
    assert shop.store.ask_at[(bought.order_id, 1)] is not None, "who is away may not know it"
    assert await shop.reversal_sweep.oldest_seconds() == 12
    shop.others.away.clear()
    shop.clock.pass_by(11)
    await shop.reversal_sweep.step()
    assert (shop.told(), shop.store.ask_at[(bought.order_id, 1)]) == ([], None)


async def test_a_reversal_while_order_is_asked_about_the_sale_is_not_forgotten(
    shop: Any, bought: Purchase
) -> None:
    attempt = await shop.pay(bought)
    shop.clock.pass_by(11)
    again_at = shop.clock() + timedelta(seconds=10)
    [asked] = await shop.store.claim_unknown(
        domain.SOLD, now=shop.clock(), again_at=again_at, limit=10
    )
    await shop.reversal.ask(bought.order_id, "changed my mind")
    await shop.reversal.step()
    await shop.store.note_known(domain.SOLD, [asked])
    assert shop.state(bought) is State.VOIDED
    assert shop.store.ask_at[(attempt.order_id, attempt.attempt)] is not None


async def test_a_failed_payment_has_no_reversal_to_tell(shop: Any, bought: Purchase) -> None:
    await shop.pay(bought, payments.DECLINED_CARD)
    shop.store.told.clear()
    shop.others.confirmed.add(bought.order_id)
    shop.clock.pass_by(11)
    await shop.reversal_sweep.step()
    assert shop.told() == []
