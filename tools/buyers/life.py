"""One buyer's life: wait for the opening, press, come again while told to wait, pay, look at the order."""

import asyncio
import dataclasses
import random
import time
from typing import Any, Literal, assert_never

from .history import EndReason, Op, Outcome, Recorder
from .plan import GOOD_CARD, Plan
from .shop import Answer, NoAnswerError, SalePage, Visitor

RUSH_SECONDS = 5.0  # a unit won this soon after the opening was won in the rush
KEYS_A_BUYER = 6  # lost holds after which a person gives up
STATUS_ROUNDS = 40
STATUS_SECONDS = 0.5
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0
SHORTEST_PAUSE_SECONDS = 0.1
PAUSE_SECONDS = 1.0  # when an answer asks to come again without saying when
COME_AGAIN_CODES = frozenset(
    {
        "WAITING",
        "WAITING_ROOM",
        "SALE_NOT_OPEN",
        "SALE_SUSPENDED",
        "PAYMENT_IN_PROGRESS",
        "IN_PROGRESS",
    }
)

Body = dict[str, Any]
Outlook = Literal["paid", "expired", "declined"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What all buyers of a run share; ``open_at`` and ``deadline`` are monotonic seconds."""

    sale: str
    page: SalePage
    open_at: float
    deadline: float
    recorder: Recorder
    run_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """What a call, or two parallel clicks, came to: ``answer`` is None when nobody told."""

    outcome: Outcome
    code: str
    answer: Answer | None = None


class GoneHomeError(Exception):
    """The buyer's story ends with ``reason``."""

    def __init__(self, reason: EndReason, code: str = "") -> None:
        super().__init__(reason)
        self.reason: EndReason = reason
        self.code = code


class Buyer:
    """Plays one plan against the shop through one visitor, and records everything."""

    def __init__(self, plan: Plan, visitor: Visitor, scene: Scene, chance: random.Random) -> None:
        self._plan = plan
        self._visitor = visitor
        self._scene = scene
        self._chance = chance
        self._order: str | None = None
        self._keys = 0

    async def live(self) -> EndReason:
        """Play the plan to its end, at the latest shortly after the scene's deadline."""
        await _sleep_until(self._scene.open_at + self._plan.press_after_millis / 1000)
        try:
            await self._fight()
        except GoneHomeError as end:
            reason, code = end.reason, end.code
        else:
            reason, code = "gave_up", "TOO_MANY_KEYS"
        self._scene.recorder.ended(self._plan.name, reason, code)
        return reason

    async def _fight(self) -> None:
        """Press and pay; returns only when hold after hold was lost."""
        for _ in range(KEYS_A_BUYER):
            if await self._press():
                await self._pay()

    # --- pressing the button ------------------------------------------------------------------

    async def _press(self) -> bool:
        """Press with a new key until the shop decides; True when a unit is held, False to try a new key."""
        key = self._new_key("c")
        body: Body = {
            "products": [
                {
                    "productId": self._scene.page.product_id,
                    "quantity": 1,
                    "price": self._scene.page.price,
                }
            ]
        }
        clicks, cut = self._plan.presses, self._plan.cut_press_after_millis
        backoff = Backoff(self._chance)
        while True:
            reply = await self._click("checkout", "/v1/checkout", key, body, clicks, cut)
            clicks, cut = 1, None
            if reply.outcome == "ok":
                assert reply.answer is not None
                self._order = reply.answer.body["orderId"]
                return True
            if reply.outcome == "fail":
                assert reply.answer is not None
                if reply.code == "HOLD_EXPIRED":
                    return False
                if not _may_come_again(reply):
                    raise GoneHomeError(_reason(reply.code), reply.code)
                await self._rest(_pause(reply.answer), spread=0.3)
            else:
                await self._rest(backoff.next())

    # --- paying -------------------------------------------------------------------------------

    async def _pay(self) -> None:
        """Pay the held order with one card after the other; returns only when the hold was lost."""
        won_in_rush = time.monotonic() < self._scene.open_at + RUSH_SECONDS
        if self._plan.leaves and won_in_rush:
            raise GoneHomeError("left")
        for card in self._plan.cards:
            await self._rest(self._plan.think_millis / 1000)
            outlook = await self._pay_with(card)
            if outlook == "paid":
                await self._look_at_order()
                raise GoneHomeError("paid")
            if outlook == "expired":
                return
        raise GoneHomeError("no_card")

    async def _pay_with(self, card: str) -> Outlook:
        """Try one card until the shop decides."""
        key = self._new_key("p")
        body: Body = {
            "orderId": self._order,
            "paymentMethod": "card",
            "cardDetails": {"number": card, "expMonth": 12, "expYear": 2040, "cvc": "123"},
            "amount": self._scene.page.price,
        }
        clicks, cut = self._plan.pay_clicks, self._plan.cut_pay_after_millis
        if card != GOOD_CARD:
            cut = None
        backoff = Backoff(self._chance)
        while True:
            reply = await self._click("pay", "/v1/payment", key, body, clicks, cut)
            clicks, cut = 1, None
            match reply.outcome:
                case "ok":
                    return "paid"
                case "fail":
                    assert reply.answer is not None
                    if reply.code == "DECLINED":
                        return "declined"
                    if reply.code == "HOLD_EXPIRED":
                        return "expired"
                    if not _may_come_again(reply):
                        raise GoneHomeError("refused", reply.code)
                    await self._rest(_pause(reply.answer))
                case "unknown":
                    await self._rest(backoff.next())
                case _:
                    assert_never(reply.outcome)

    async def _look_at_order(self) -> None:
        """Ask for the order's status until it is confirmed, for at most some twenty seconds."""
        path = f"/v1/orders/{self._order}/status"
        for _ in range(STATUS_ROUNDS):
            call = self._scene.recorder.invoke(self._plan.name, "status", "", self._order)
            try:
                answer = await self._visitor.call("GET", path)
            except NoAnswerError as error:
                self._scene.recorder.answered(call, "unknown", code=f"NO_ANSWER_{error}")
            else:
                status = str(answer.body.get("status", ""))
                code = f"STATUS_{status}" if answer.is_success else answer.code
                outcome: Outcome = "ok" if answer.is_success else "fail"
                self._scene.recorder.answered(
                    call,
                    outcome if answer.is_definite else "unknown",
                    status=answer.status,
                    code=code,
                )
                if status == "confirmed":
                    return
            await asyncio.sleep(STATUS_SECONDS)

    # --- calls --------------------------------------------------------------------------------

    async def _click(
        self,
        op: Op,
        path: str,
        key: str,
        body: Body,
        clicks: int,
        cut: int | None,
    ) -> Reply:
        """Send the call ``clicks`` times at once with one key and take the best of what came back."""
        order = self._order if op == "pay" else None
        if clicks == 1:
            return await self._send(op, path, key, body, cut, order)
        replies = await asyncio.gather(
            *(self._send(op, path, key, body, cut, order) for _ in range(clicks))
        )
        return min(replies, key=_rank)

    async def _send(
        self,
        op: Op,
        path: str,
        key: str,
        body: Body,
        cut: int | None,
        order: str | None,
    ) -> Reply:
        call = self._scene.recorder.invoke(self._plan.name, op, key, order)
        try:
            if cut is None:
                answer = await self._visitor.call("POST", path, body=body, key=key)
            else:
                answer = await self._visitor.call_and_cut(cut, "POST", path, body=body, key=key)
        except NoAnswerError as error:
            code = f"NO_ANSWER_{error}"
            self._scene.recorder.answered(call, "unknown", code=code)
            return Reply(outcome="unknown", code=code)
        reply = _judge(op, answer)
        self._scene.recorder.answered(
            call,
            reply.outcome,
            status=answer.status,
            code=reply.code,
            order=_text(answer, "orderId"),
            amount=_text(answer, "amount"),
            pay_by=_text(answer, "payBy"),
            transaction=_text(answer, "transactionId"),
        )
        return reply

    async def _rest(self, seconds: float, *, spread: float = 0.0) -> None:
        """Wait ``seconds`` and up to ``spread`` more; a buyer whose patience is over goes home instead."""
        seconds += self._chance.uniform(0, spread)
        if time.monotonic() + seconds > self._scene.deadline:
            raise GoneHomeError("gave_up")
        await asyncio.sleep(seconds)

    def _new_key(self, kind: str) -> str:
        self._keys += 1
        return f"{self._scene.run_id}-{self._plan.name}-{kind}{self._keys}"


class Backoff:
    """Growing pauses with jitter, in seconds."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._ceiling = FIRST_BACKOFF_SECONDS

    def next(self) -> float:
        """Return the next pause: between half the ceiling and the ceiling, which doubles up to its limit."""
        pause = self._ceiling * self._chance.uniform(0.5, 1.0)
        self._ceiling = min(LONGEST_BACKOFF_SECONDS, self._ceiling * 2)
        return pause


def _judge(op: Op, answer: Answer) -> Reply:
    if not answer.is_definite:
        return Reply(outcome="unknown", code=answer.code, answer=answer)
    if not answer.is_success:
        return Reply(outcome="fail", code=answer.code, answer=answer)
    if op == "checkout":
        return Reply(outcome="ok", code="HELD", answer=answer)
    if answer.body.get("status") == "success":
        return Reply(outcome="ok", code="PAID", answer=answer)
    return Reply(outcome="fail", code="DECLINED", answer=answer)


def _rank(reply: Reply) -> int:
    if reply.outcome == "ok":
        return 0
    if reply.outcome == "unknown":
        return 2  # another call had a definite answer: that one counts first
    return 3 if _may_come_again(reply) else 1


def _may_come_again(reply: Reply) -> bool:
    too_many = reply.answer is not None and reply.answer.status == 429
    return too_many or reply.code in COME_AGAIN_CODES


def _pause(answer: Answer) -> float:
    """Return the pause the answer asks for, in seconds, but never so short that it would be a busy loop."""
    if answer.retry_after is None:
        return PAUSE_SECONDS
    return max(SHORTEST_PAUSE_SECONDS, answer.retry_after)


def _reason(code: str) -> EndReason:
    match code:
        case "SOLD_OUT":
            return "sold_out"
        case "SALE_CLOSED" | "CLOSED":
            return "closed"
        case _:
            return "refused"


def _text(answer: Answer, name: str) -> str | None:
    value = answer.body.get(name)
    return None if value is None else str(value)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
