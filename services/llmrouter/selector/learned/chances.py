"""Each model's chance of answering a prompt well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrouter.common.prompt_features import SHAPE, SKETCH_SIZE, PromptFeatures
from llmrouter.selector.learned.calibration import Calibration, calibrate
from llmrouter.selector.learned.examples import Example, grade_table
from llmrouter.selector.learned.kernel import (
    WORDS,
    Floats,
    Points,
    likeness,
    points_of,
    shape_distances,
    shape_likeness,
)
from llmrouter.selector.learned.regression import DEFAULT_NOISE, choose_noise, fit

__all__ = ["PRIOR_GRADES", "UNTRAINED", "Chance", "Chances", "train"]

PRIOR_GRADES = 10.0
"""How many grades a model's configured quality is worth."""
CHOOSING_ROWS = 1500
"""Prompts that the noise is chosen on at most; the time grows with their cube."""
CHOOSING_LEAST = 100
"""With fewer prompts the noise stays as it is."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What is known of one model and one prompt."""

    value: float
    """The chance of a good answer, 0 to 1."""
    grades: int
    """How many graded answers of the model it rests on."""


@dataclass(frozen=True, slots=True)
class Chances:
    """What was learned; unchanging, so that any thread may ask it."""

    models: tuple[str, ...]
    noise: float
    """What the regression took; see `fit`."""
    shapes: Floats
    """`[examples, len(SHAPE)]`."""
    spread: Floats
    """`[len(SHAPE)]`."""
    by_shape: Floats
    """`[examples, models]`: weights of the likeness to each example's shape."""
    by_words: Floats
    """`[SKETCH_SIZE, models]`: weights of the words; the cosine needs no examples."""
    calibrations: tuple[Calibration, ...]
    grades: tuple[int, ...]
    """How many each model has."""

    def of(self, features: PromptFeatures, priors: Mapping[str, float]) -> dict[str, Chance]:
        """Return the chance of each model of `priors`.

        Args:
            features: The prompt.
            priors: Names of models and their configured qualities, 0 to 1, which count as
                `PRIOR_GRADES` grades; all that is known of a model never graded.
        """
        found = {name: Chance(prior, 0) for name, prior in priors.items()}
        if not self.models:
            return found
        learned = self.uncorrected(points_of([features]))[0]
        for name, value, count in zip(self.models, learned, self.grades, strict=True):
            if name in priors:
                mixed = (count * value + PRIOR_GRADES * priors[name]) / (count + PRIOR_GRADES)
                found[name] = Chance(float(mixed), count)
        return found

    def uncorrected(self, points: Points) -> NDArray[np.float64]:
        """Return calibrated chances without priors, `[points, models]`."""
        distances = shape_distances(points.shapes, self.shapes, self.spread)
        deviations = shape_likeness(distances) @ self.by_shape + points.words @ self.by_words
        columns = [
            calibration.chance(deviations[:, index].astype(np.float64))
            for index, calibration in enumerate(self.calibrations)
        ]
        return np.stack(columns, axis=1)


UNTRAINED = Chances(
    models=(),
    noise=DEFAULT_NOISE,
    shapes=np.zeros((0, len(SHAPE)), np.float32),
    spread=np.ones(len(SHAPE), np.float32),
    by_shape=np.zeros((0, 0), np.float32),
    by_words=np.zeros((SKETCH_SIZE, 0), np.float32),
    calibrations=(),
    grades=(),
)
"""Knows nothing: every chance is the prior."""


def train(examples: Sequence[Example], noise: float | None = None, *, seed: int = 0) -> Chances:
    """Learn from graded answers.

    Args:
        examples: Prompts with their grades; of one features version.
        noise: What to keep of an earlier training; None chooses it by leave-one-out.
        seed: Draws the examples that the noise is chosen on when there are many.

    Takes about 1 s of two cores for 1,500 prompts, three times that with noise to choose.
    """
    if not examples:
        return UNTRAINED
    models, table = grade_table(examples)
    points = points_of([one.features for one in examples])
    spread = points.spread()
    alike = likeness(points, spread)
    if noise is None:
        noise = _choose(alike, table, seed)
    weights = np.zeros(table.shape)
    calibrations = []
    for column in range(len(models)):
        rows = np.flatnonzero(np.isfinite(table[:, column]))
        grades = table[rows, column]
        mean = float(grades.mean())
        one = fit(alike[np.ix_(rows, rows)], grades - mean, noise)
        weights[rows, column] = one.weights
        calibrations.append(calibrate(one.left_out, grades, mean))
    return Chances(
        models=models,
        noise=noise,
        shapes=points.shapes,
        spread=spread,
        by_shape=weights.astype(np.float32),
        by_words=(WORDS * points.words.T @ weights).astype(np.float32),
        calibrations=tuple(calibrations),
        grades=tuple(int(count) for count in np.isfinite(table).sum(axis=0)),
    )


def _choose(alike: Floats, table: NDArray[np.float64], seed: int) -> float:
    if len(table) < CHOOSING_LEAST:
        return DEFAULT_NOISE
    drawn = np.random.default_rng(seed).permutation(len(table))[:CHOOSING_ROWS]
    return choose_noise(alike[np.ix_(drawn, drawn)], table[drawn])
