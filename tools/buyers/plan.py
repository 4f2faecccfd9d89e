"""What each buyer of a crowd will do, drawn from a seed: the same seed is the same crowd."""

import dataclasses
import ipaddress
import random

GOOD_CARD = "4242424242424242"
DECLINED_CARDS = (
    "4000000000000002",  # generic decline
    "4000000000009995",  # insufficient funds
    "4000002500003155",  # asks for authentication, which nobody gives here
    "4000002760003184",
)
FIRST_ADDRESS = ipaddress.IPv4Address("198.18.0.1")  # 198.18.0.0/15 is set aside for benchmarks
MAX_BUYERS = 100_000  # what 198.18.0.0/15 has room for, rounded down
REACTION_MILLIS = 250  # the slowest finger after the opening
EARLY_MILLIS = 1500  # the most eager finger before it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix:
    """The shares (0..1) of each behaviour in a crowd; they are drawn independently of each other.

    ``leaves`` holds for units won in the first rush only: whoever waited for a unit pays for it.
    """

    early: float = 0.05
    double_press: float = 0.15
    cut_press: float = 0.10
    leaves: float = 0.25
    another_card: float = 0.20
    no_card: float = 0.05
    double_pay: float = 0.30
    cut_pay: float = 0.10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One buyer's intentions; times in milliseconds, ``press_after_millis`` counts from the opening."""

    name: str
    address: str
    press_after_millis: int
    presses: int
    cut_press_after_millis: int | None
    leaves: bool
    cards: tuple[str, ...] = dataclasses.field(repr=False)
    pay_clicks: int
    cut_pay_after_millis: int | None
    think_millis: int

    @property
    def is_able(self) -> bool:
        """Whether one of the buyer's cards will be accepted."""
        return GOOD_CARD in self.cards


def draw_plans(count: int, seed: int, mix: Mix | None = None) -> list[Plan]:
    """Draw ``count`` plans; raises ValueError when the crowd is empty or larger than its address range."""
    if not 1 <= count <= MAX_BUYERS:
        raise ValueError(f"a crowd has between 1 and {MAX_BUYERS} buyers")
    return [_draw(index, random.Random(f"{seed}/{index}"), mix or Mix()) for index in range(count)]


def _draw(index: int, chance: random.Random, mix: Mix) -> Plan:
    is_early = chance.random() < mix.early
    reaction = chance.randint(0, REACTION_MILLIS)
    eagerness = chance.randint(50, EARLY_MILLIS)
    cut_press = chance.randint(1, 60)
    cut_pay = chance.randint(1, 120)
    return Plan(
        name=f"b{index + 1:05d}",
        address=str(FIRST_ADDRESS + index),
        press_after_millis=-eagerness if is_early else reaction,
        presses=2 if chance.random() < mix.double_press else 1,
        cut_press_after_millis=cut_press if chance.random() < mix.cut_press else None,
        leaves=chance.random() < mix.leaves,
        cards=_draw_cards(chance, mix),
        pay_clicks=2 if chance.random() < mix.double_pay else 1,
        cut_pay_after_millis=cut_pay if chance.random() < mix.cut_pay else None,
        think_millis=chance.randint(100, 1200),
    )


def _draw_cards(chance: random.Random, mix: Mix) -> tuple[str, ...]:
    luck, declined = chance.random(), chance.choice(DECLINED_CARDS)
    if luck < mix.no_card:
        return (declined,)
    if luck < mix.no_card + mix.another_card:
        return (declined, GOOD_CARD)
    return (GOOD_CARD,)
