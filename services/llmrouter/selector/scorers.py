"""Scorers: each judges one aspect of the candidates in [0, 1] and says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from llmrouter.common.money import dollars
from llmrouter.selector.evidence import Array
from llmrouter.selector.figures import Frame
from llmrouter.selector.learned.policy import NEVER, Exploration, Pick, pick
from llmrouter.selector.pickers import uniforms

__all__ = ["SCORERS", "Scorer", "Sufficient"]

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
        # Rows that may not answer can be above the best: theirs would overflow for a tiny one.
        return np.minimum(value, best) / best if best > 0 else np.ones(len(value))

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
        return np.minimum(weight, largest) / largest

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


class Sufficient:
    """How likely the model answers well, and before all others the cheapest that is likely enough.

    Now and then the model of which least is known comes first instead, so that it is learned about.

    Args:
        tolerance: What the cheaper one may be worse than the best, 0 to 1.
        exploration: How often it explores.
    """

    def __init__(self, tolerance: float = 0.05, exploration: Exploration = NEVER) -> None:
        self.tolerance, self.exploration = tolerance, exploration

    def __repr__(self) -> str:
        return f"Sufficient({self.tolerance}, {self.exploration})"

    def pick(self, frame: Frame) -> Pick:
        """Return which of the rows `frame.fitting` come first."""
        rows, wishes = frame.fitting, frame.request.wishes
        graded = frame.figures.graded
        return pick(
            _chances(frame)[rows],
            np.zeros(int(rows.sum())) if graded is None else graded[rows],
            frame.cost[rows],
            min_quality=wishes.min_quality,
            tolerance=self.tolerance,
            exploration=NEVER if wishes.no_exploration else self.exploration,
            draw=uniforms(frame.draw, _EXPLORING).item(),
        )

    def values(self, frame: Frame) -> Array:
        """Return half of the chance, and the other half for those that come first."""
        values = _chances(frame) / 2
        values[frame.fitting.nonzero()[0][self.pick(frame).first]] += 0.5
        return values

    def why(self, frame: Frame, row: int) -> str:
        """Tell the chance and what it rests on."""
        graded = frame.figures.graded
        grades = 0 if graded is None else int(graded[row])
        return f"answers well by {_chances(frame)[row]:.1%}, from {grades} graded answers"

    def reason(self, frame: Frame, row: int) -> str:
        """Return one sentence for people: why a row comes first."""
        name, picked = frame.view.models[row].name, self.pick(frame)
        if picked.explored:
            return f"{name} to learn about it: {self.why(frame, row)}"
        chance = f"{name}, whose chance of a good answer is {_chances(frame)[row]:.0%},"
        if not picked.cleared:
            return f"{chance} comes nearest to {picked.needed:.0%}"
        return f"{chance} is the cheapest of those that reach {picked.needed:.0%}"


_EXPLORING = np.array([0x4C4541524E], np.uint64)
"""What keeps the draw that explores apart from those that decide between equals."""


def _chances(frame: Frame) -> Array:
    """Return what is predicted, or else what is configured."""
    predicted = frame.figures.predicted
    return frame.view.quality if predicted is None else predicted


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
    return f"about {dollars(float(frame.cost[row]))} for the request"
