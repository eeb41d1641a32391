"""Scorers: each judges one aspect of the candidates in [0, 1] and says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from llmrouter.selector.evidence import Array
from llmrouter.selector.figures import Frame

__all__ = ["SCORERS", "Scorer"]

REFERENCE_SECONDS = 2.0
"""An answer expected to take this long has the speed 0.5."""
REFERENCE_COST = 0.001
"""An answer expected to cost this many US dollars has the cost value 0.5."""
_FREE = 1e-9
"""What a free answer counts as, in US dollars, where quality is divided by cost."""


class Scorer(Protocol):
    """One aspect. A package of its own gives a strategy further ones (`Strategy.scorers`)."""

    def values(self, frame: Frame) -> Array:
        """Return the verdicts on all rows: 0 to 1, higher is better.

        What it says of others than the rows `frame.fitting` is not looked at.
        """
        ...

    def why(self, frame: Frame, row: int) -> str:
        """Return one phrase for people: the facts behind the verdict on a row."""
        ...


class Speed:
    """How soon the answer is complete."""

    def values(self, frame: Frame) -> Array:
        """Return 0.5 for an answer within `REFERENCE_SECONDS`."""
        return REFERENCE_SECONDS / (REFERENCE_SECONDS + frame.seconds)

    def why(self, frame: Frame, row: int) -> str:
        """Tell the time and who waits."""
        return (
            f"about {frame.seconds[row]:.2f} s for {frame.output_tokens} tokens, "
            f"{frame.waiting[row]:.0f} requests waiting"
        )


class Quality:
    """How good the model is."""

    def values(self, frame: Frame) -> Array:
        """Return the configured prior, lowered by the measured loss of the precision."""
        return frame.view.quality

    def why(self, frame: Frame, row: int) -> str:
        """Tell the quality and its prior."""
        prior = frame.view.models[row].entry.quality
        return f"{frame.view.quality[row]:.3f}; its checkpoint has {prior:.3f} unquantised"


class Cost:
    """How cheap the answer is."""

    def values(self, frame: Frame) -> Array:
        """Return 0.5 for an answer at `REFERENCE_COST`."""
        return REFERENCE_COST / (REFERENCE_COST + frame.cost)

    def why(self, frame: Frame, row: int) -> str:
        """Tell the estimate."""
        return _cost(frame, row)


class Value:
    """How much quality a dollar buys, relative to the best of the candidates.

    Multiplying all prices or all qualities by a number changes no verdict while none is free.
    """

    def values(self, frame: Frame) -> Array:
        """Return 1 for the best of the rows; all 1 where none has any quality."""
        value = frame.view.quality / np.maximum(frame.cost, _FREE)
        best = value[frame.fitting].max()
        return value / best if best > 0 else np.ones(len(value))

    def why(self, frame: Frame, row: int) -> str:
        """Tell the estimate."""
        return f"{_cost(frame, row)} at quality {frame.view.quality[row]:.3f}"


class Compatibility:
    """Room in the context, and recent success."""

    def values(self, frame: Frame) -> Array:
        """Return 1 for a context twice as large as needed where nothing failed lately."""
        needed = frame.prompt_tokens + frame.output_tokens
        room = np.minimum(1.0, frame.context / (2 * needed))
        return room * (1.0 - frame.error_rate)

    def why(self, frame: Frame, row: int) -> str:
        """Tell both."""
        needed = frame.prompt_tokens[row] + frame.output_tokens
        return (
            f"needs about {needed:.0f} of {frame.context[row]:.0f} tokens of context, "
            f"{frame.error_rate[row]:.1%} of recent attempts failed"
        )


class Load:
    """How idle the least busy replica is."""

    def values(self, frame: Frame) -> Array:
        """Return 1 for an idle replica, 0.5 for one with as many requests as slots."""
        return 1.0 / (1.0 + frame.least_pressure)

    def why(self, frame: Frame, row: int) -> str:
        """Tell the load of the least busy replica."""
        return f"its least busy replica has {frame.least_pressure[row]:.2f} requests per slot"


class Weight:
    """The configured share, relative to the largest among the candidates."""

    def values(self, frame: Frame) -> Array:
        """Return 1 for the largest share."""
        weight = frame.view.weight
        largest: float = weight[frame.fitting].max()
        return weight / largest

    def why(self, frame: Frame, row: int) -> str:
        """Tell the share."""
        return f"its configured weight is {frame.view.weight[row]:g}"


class Predicted:
    """The chance that the model answers this question well, as a predictor sees it."""

    def values(self, frame: Frame) -> Array:
        """Return the predictions; 0 where there are none."""
        predicted = frame.figures.predicted
        return np.zeros(len(frame.view.models)) if predicted is None else predicted

    def why(self, frame: Frame, row: int) -> str:
        """Tell the prediction."""
        predicted = frame.figures.predicted
        return (
            "nothing predicts it" if predicted is None else f"answers well by {predicted[row]:.1%}"
        )


SCORERS: Mapping[str, Scorer] = {
    "speed": Speed(),
    "quality": Quality(),
    "cost": Cost(),
    "value": Value(),
    "compatibility": Compatibility(),
    "load": Load(),
    "weight": Weight(),
    "predicted": Predicted(),
}
"""Every scorer of the house by name."""


def _cost(frame: Frame, row: int) -> str:
    return f"about ${frame.cost[row]:.3g} for the request"
