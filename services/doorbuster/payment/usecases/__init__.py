"""What payment does: take a payment, finish what was left behind, capture, reverse, tell it again."""

from .capture import Capture
from .pay import Pay, PayCommand
from .recover import Recovery
from .reverse import Reversal
from .settle import Settlement
from .sweep import OrderSweep, reversals, sales
from .verdicts import Verdicts

__all__ = [
    "Capture",
    "OrderSweep",
    "Pay",
    "PayCommand",
    "Recovery",
    "Reversal",
    "Settlement",
    "Verdicts",
    "reversals",
    "sales",
]
