"""From a regression's score to a probability: Platt's sigmoid, held to what it should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "calibrate", "logit", "sigmoid"]

_TRUST = 2.5
"""How strongly offset and slope are held to what is expected of them."""
_ROUNDS = 30


def sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + e^-x), also far from 0."""
    return 0.5 * (1 + np.tanh(0.5 * value))


def logit(chance: float) -> float:
    """Return ln(p / (1 - p)), with p held to 0.01 to 0.99."""
    held = min(0.99, max(0.01, chance))
    return float(np.log(held / (1 - held)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A chance is `sigmoid(offset + slope * deviation)`."""

    offset: float
    slope: float
    """At least 0: a higher score never means a lower chance."""

    def chance(self, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return chances of deviations from the mean."""
        return sigmoid(self.offset + self.slope * deviation)


def calibrate(
    deviations: NDArray[np.float64], grades: NDArray[np.float64], mean: float
) -> Calibration:
    """Fit the sigmoid to predictions of prompts left out.

    Args:
        deviations: Predicted grades less `mean`, `[n]`, each made without its own grade.
        grades: 0 to 1, `[n]`.
        mean: The chance of a prompt about which nothing is known.

    With few grades the sigmoid stays near the one whose value at 0 is `mean` and whose slope
    there is 1. Newton's method on the penalised log loss (Platt 1999; Lin, Lin and Weng 2007).
    """
    held = min(0.99, max(0.01, mean))
    expected = np.array([logit(mean), 1 / (held * (1 - held))])
    scale = np.array([1.0, 1 / expected[1] ** 2])
    inputs = np.stack([np.ones_like(deviations), deviations], axis=1)
    found = expected.copy()
    for _ in range(_ROUNDS):
        chances = sigmoid(inputs @ found)
        slope = inputs.T @ (chances - grades) + _TRUST * scale * (found - expected)
        bend = (inputs.T * (chances * (1 - chances))) @ inputs + np.diag(_TRUST * scale)
        step = np.linalg.solve(bend, slope)
        found -= step
        if float(np.abs(step).max()) < 1e-9:
            break
    return Calibration(float(found[0]), max(0.0, float(found[1])))
