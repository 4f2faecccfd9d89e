"""Whether what ``status`` waits for has come, can still come, or never will (pure)."""

from dataclasses import dataclass

from typing_extensions import override

from .model import PHASES, FlashSale

_RANKS = {phase: rank for rank, phase in enumerate(PHASES) if phase != "Cancelled"}
_OVER = ("Settled", "Cancelled")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A condition that shall be True, or a phase that shall be reached."""

    condition: str = ""
    phase: str = ""

    @override
    def __str__(self) -> str:
        return self.phase or self.condition


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``is_reached`` None: it may still come. ``sentence`` says how things stand."""

    is_reached: bool | None
    sentence: str


def goal(text: str) -> Goal:
    """Read ``condition=Ready`` or ``phase=Settled``; raises ValueError."""
    kind, _, value = text.partition("=")
    if kind == "phase" and value in PHASES:
        return Goal(phase=value)
    if kind == "condition" and value.isalpha():
        return Goal(condition=value)
    raise ValueError(f"{text!r} is neither condition=TYPE nor phase=PHASE ({', '.join(PHASES)})")


def look(sale: FlashSale, wanted: Goal) -> Outcome:
    """Say whether the goal is reached; a status of an older spec never is."""
    status = sale.status
    if not status.phase or not sale.is_observed:
        return Outcome(is_reached=None, sentence="the operator has not seen the sale as it is now")
    sentence = status.summary
    told = status.condition(wanted.condition)
    if told is not None:
        sentence = f"{told.reason}: {told.message}"
    if _holds(sale, wanted):
        return Outcome(is_reached=True, sentence=sentence)
    accepted = status.condition("Accepted")
    if accepted is not None and accepted.status == "False":
        return Outcome(is_reached=False, sentence=f"{accepted.reason}: {accepted.message}")
    if status.phase in _OVER or (status.phase == "Closed" and wanted.phase == "SoldOut"):
        return Outcome(is_reached=False, sentence=sentence)
    return Outcome(is_reached=None, sentence=sentence)


def _holds(sale: FlashSale, wanted: Goal) -> bool:
    if wanted.condition:
        told = sale.status.condition(wanted.condition)
        return told is not None and told.status == "True"
    phase = sale.status.phase
    if wanted.phase in {"SoldOut", "Cancelled"}:
        return phase == wanted.phase
    # A phase that was passed was reached: whoever waits for Open does not wait for ever when all is sold.
    return _RANKS.get(phase, -1) >= _RANKS[wanted.phase]
