"""When somebody should hear of a budget. Pure; `alerting.py` tells them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Alert", "AlertKind", "due"]

_WARNING_PERCENT = 80
_FEW = 10


class AlertKind(StrEnum):
    """What became of a budget; each is told once a period."""

    NEARLY_SPENT = "nearly-spent"
    """80 % are spent."""
    SPENT = "spent"
    """All is spent; or a request was refused after 80 %, since what is left is too little."""
    FEW_LEFT = "few-left"
    """What is left holds fewer than ten requests that cost what they did so far, on the mean."""

    @property
    def bit(self) -> int:
        """Its place among those that were raised."""
        return 1 << _ORDER.index(self)


_ORDER = (AlertKind.NEARLY_SPENT, AlertKind.SPENT, AlertKind.FEW_LEFT)


@dataclass(frozen=True, slots=True)
class Alert:
    """News of one budget."""

    kind: AlertKind
    rule: str
    """Name of the rule that sets it."""
    subject: str
    """Whose it is, such as `tenant acme`."""
    limit: str
    """Such as `5.00 dollars per day`."""
    period: str
    """`2026-11-25` or `2026-11`."""
    spent: float
    """In tokens or US dollars."""
    most: float
    """The budget, likewise."""


def due(spent: int, requests: int, limit: int, *, refused: bool) -> list[AlertKind]:
    """Return the alerts that a budget is worth.

    Args:
        spent: What was spent of it.
        requests: By how many requests.
        limit: The budget.
        refused: Whether a request was just refused.
    """
    warned = spent * 100 >= limit * _WARNING_PERCENT
    left = limit - spent
    found = [
        (AlertKind.NEARLY_SPENT, warned),
        (AlertKind.SPENT, left <= 0 or (refused and warned)),
        (AlertKind.FEW_LEFT, requests > 0 and left * requests < _FEW * spent),
    ]
    return [kind for kind, holds in found if holds]
