"""What one seed draws: the sale, its crowd, and which faults strike when. The same seed is the same plan."""

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Literal

from typing_extensions import override

from buyers import plan as crowd_plan
from doorbuster.contracts.control import Strategy

from . import faults

MOST_BUYERS = 60
FEWEST_BUYERS = 20
MOST_UNITS = 10
FEWEST_UNITS = 3
MOST_FAULTS = 3
EARLIEST_SECONDS = -0.2  # of a fault, from the opening
RUSH_SECONDS = 1.5
RUSH_SHARE = 0.7
LATEST_SECONDS = 6.0
SHORTEST_DOWN_SECONDS = 0.2
LONGEST_DOWN_SECONDS = 3.0
FREEZE_SECONDS = (10.5, 12.0)  # longer than every lease, see LEASES
# How long things may lie before somebody else looks after them, in seconds: as short as the calls that they
# outlast allow (reserve 5 s, the provider 4 s a call). The services are started with these.
LEASES: Mapping[str, float] = {
    "DOORBUSTER_PERMIT_SECONDS": 6,
    "DOORBUSTER_PAYMENT_ANSWER_SECONDS": 5,
    "DOORBUSTER_PAYMENT_RECOVER_SECONDS": 9,
    "DOORBUSTER_PIN_SWEEP_SECONDS": 9,
    "DOORBUSTER_PAYMENT_ORDER_KNOWN_SECONDS": 5,
}
OPERATOR_EVERY = 5  # seeds
OPERATOR_HOLD_SECONDS = 10  # the resource allows no less
# How often each is drawn: most where units and money move.
SERVICES: Mapping[str, int] = {
    "inventory": 5,
    "payment": 5,
    "checkout-0": 2,
    "checkout-1": 2,
    "gateway-0": 1,
    "gateway-1": 1,
    "order": 2,
    "psp": 2,
    "user": 1,
    "notification": 1,
}
OPERATOR_WEIGHT = 5  # in the sales that it arms
DRAWS = 20  # tries for a fault on a part that is not struck yet
STRATEGIES: Mapping[Strategy, int] = {"Escrow": 7, "Direct": 2, "Lock": 1}

Channel = Literal["control", "operator"]
Maker = Callable[[random.Random, Channel], faults.Fault]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strike:
    """One fault, its moment in seconds after the opening, and how long until it is healed."""

    fault: faults.Fault
    at_seconds: float
    down_seconds: float

    @override
    def __str__(self) -> str:
        return f"{self.fault.name}@{self.at_seconds:+.2f}s/{self.down_seconds:.1f}s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One disturbed sale. ``channel`` says who arms it: inventory's control API, or kubectl and the operator."""

    seed: int
    buyers: int
    units: int
    per_user_limit: int
    hold_seconds: int
    strategy: Strategy
    channel: Channel
    mix: crowd_plan.Mix
    strikes: tuple[Strike, ...]

    def crowd(self) -> list[crowd_plan.Plan]:
        """Return the buyers' plans; nobody thinks so long that his hold is over by then."""
        most = self.hold_seconds * 300
        return [
            dataclasses.replace(each, think_millis=min(each.think_millis, most))
            for each in crowd_plan.draw_plans(self.buyers, self.seed, self.mix)
        ]

    @override
    def __str__(self) -> str:
        return (
            f"{self.channel} {self.strategy} {self.buyers} buyers {self.units} units "
            f"hold {self.hold_seconds}s limit {self.per_user_limit}"
        )


def draw(seed: int, *, disturbed: bool = True) -> Plan:
    """Draw the plan of a seed; ``disturbed=False`` is the same sale without its faults."""
    chance = random.Random(seed)
    channel: Channel = "operator" if seed % OPERATOR_EVERY == 0 else "control"
    (strategy,) = chance.choices(list(STRATEGIES), list(STRATEGIES.values()))
    hold = chance.randint(1, 3)
    plan = Plan(
        seed=seed,
        buyers=chance.randint(FEWEST_BUYERS, MOST_BUYERS),
        units=chance.randint(FEWEST_UNITS, MOST_UNITS),
        per_user_limit=chance.randint(1, 3),
        hold_seconds=OPERATOR_HOLD_SECONDS if channel == "operator" else hold,
        strategy=strategy,
        channel=channel,
        mix=_draw_mix(chance),
        strikes=(),
    )
    strikes = _draw_strikes(chance, channel)
    return dataclasses.replace(plan, strikes=strikes if disturbed else ())


def _draw_mix(chance: random.Random) -> crowd_plan.Mix:
    return crowd_plan.Mix(
        early=chance.uniform(0.0, 0.2),
        double_press=chance.uniform(0.0, 0.5),
        cut_press=chance.uniform(0.0, 0.3),
        leaves=chance.uniform(0.0, 0.4),
        another_card=chance.uniform(0.0, 0.4),
        no_card=chance.uniform(0.0, 0.15),
        double_pay=chance.uniform(0.0, 0.6),
        cut_pay=chance.uniform(0.0, 0.3),
    )


def _draw_strikes(chance: random.Random, channel: Channel) -> tuple[Strike, ...]:
    """Draw faults on parts that differ: a part is not struck again before it is healed."""
    strikes: list[Strike] = []
    wanted = chance.randint(1, MOST_FAULTS)
    for _ in range(DRAWS):
        (maker,) = chance.choices(list(MAKERS), list(MAKERS.values()))
        fault = maker(chance, channel)
        if all(fault.part != other.fault.part for other in strikes):
            strikes.append(_draw_moment(chance, fault))
        if len(strikes) == wanted:
            break
    return tuple(sorted(strikes, key=lambda strike: strike.at_seconds))


def _draw_moment(chance: random.Random, fault: faults.Fault) -> Strike:
    """Draw when and how long: most moments lie in the rush, where there is most to break."""
    rush = chance.random() < RUSH_SHARE
    moment = chance.uniform(EARLIEST_SECONDS, RUSH_SECONDS if rush else LATEST_SECONDS)
    down = (SHORTEST_DOWN_SECONDS, LONGEST_DOWN_SECONDS)
    if isinstance(fault, faults.Freeze):
        down = FREEZE_SECONDS
    return Strike(
        fault=fault, at_seconds=round(moment, 3), down_seconds=round(chance.uniform(*down), 2)
    )


def _service(chance: random.Random, channel: Channel) -> str:
    weights = dict(SERVICES)
    if channel == "operator":
        weights["operator"] = OPERATOR_WEIGHT
    (name,) = chance.choices(list(weights), list(weights.values()))
    return name


def _kill(chance: random.Random, channel: Channel) -> faults.Fault:
    return faults.Kill(_service(chance, channel))


def _freeze(chance: random.Random, channel: Channel) -> faults.Fault:
    return faults.Freeze(_service(chance, channel))


def _rollback(chance: random.Random, _channel: Channel) -> faults.Fault:
    return faults.RedisRollback(age_seconds=round(chance.uniform(0.1, 1.5), 2))


def _conduct(chance: random.Random, _channel: Channel) -> faults.Fault:
    return faults.PspConduct(chance.choice(list(faults.CONDUCTS)))


MAKERS: Mapping[Maker, float] = {
    _kill: 6,
    _freeze: 2.5,
    _conduct: 2,
    lambda chance, channel: faults.RedisFlush(): 1.5,
    lambda chance, channel: faults.Kill("redis"): 1.5,
    _rollback: 2,
    lambda chance, channel: faults.Stop("kafka"): 1,
    lambda chance, channel: faults.KafkaLoss(): 1,
    lambda chance, channel: faults.PostgresCrash(): 2,
    lambda chance, channel: faults.Kill("mariadb"): 1,
}
