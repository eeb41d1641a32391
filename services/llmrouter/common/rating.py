"""How good an answer was, as whoever read it says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmrouter.common.errors import invalid

__all__ = ["Rating", "grade_of_score"]

_MAX_PLAN_BYTES = 64
_MAX_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class Rating:
    """A verdict on one answer."""

    plan_id: str
    grade: float
    """0 (bad) to 1 (good)."""
    model: str = ""
    """Who answered; empty leaves it to what was reported."""

    def __post_init__(self) -> None:
        """Check the bounds of the proto.

        Raises:
            RouterError: INVALID_ARGUMENT naming field, value and bound.
        """
        size = len(self.plan_id.encode())
        if not 1 <= size <= _MAX_PLAN_BYTES:
            raise invalid("plan_id", f"is {size} bytes; it must be 1 to {_MAX_PLAN_BYTES}")
        size = len(self.model.encode())
        if size > _MAX_NAME_BYTES:
            raise invalid("model", f"is {size} bytes; at most {_MAX_NAME_BYTES}")
        if not 0 <= self.grade <= 1:  # false for what is not a number
            raise invalid("judged", f"is {self.grade}; it must be 0 to 1")


def grade_of_score(value: float, lowest: float, highest: float) -> float:
    """Return the place of a score on its scale, 0 to 1.

    Raises:
        RouterError: INVALID_ARGUMENT for no scale, or a score that is not on it.
    """
    if not (math.isfinite(lowest) and math.isfinite(highest) and lowest < highest):
        told = f"is {highest:g} with the lowest {lowest:g}; it must be a number above that"
        raise invalid("score.highest", told)
    if not lowest <= value <= highest:
        raise invalid("score.value", f"is {value:g}; it must be {lowest:g} to {highest:g}")
    return min(1.0, (value / 2 - lowest / 2) / (highest / 2 - lowest / 2))
