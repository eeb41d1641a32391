"""Kernel ridge regression, which is the mean of a Gaussian process, with exact leave-one-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.learned.kernel import Floats

__all__ = ["DEFAULT_NOISE", "NOISES", "Fit", "choose_noise", "fit"]

Grades = NDArray[np.float64]

NOISES = (5.0, 10.0, 20.0, 40.0, 80.0)
"""What is tried."""
DEFAULT_NOISE = 20.0
"""While there is too little to choose by."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What regression found for one model."""

    weights: Grades
    """`[points]`: what a likeness to each point adds."""
    left_out: Grades
    """`[points]`: what would be predicted of each point had it not been seen."""


def fit(alike: Floats, deviations: Grades, noise: float) -> Fit:
    """Fit deviations from a mean.

    Args:
        alike: The kernel among the points, `[points, points]`.
        deviations: Grades less their mean, `[points]`.
        noise: Variance of a grade around its model's chance, in units of the chance's own.

    What is left out is exact: y - w / diag((K + noise I)^-1), Rasmussen and Williams (2006), 5.12.
    """
    inverse = np.linalg.inv(alike + np.float32(noise) * np.eye(len(alike), dtype=np.float32))
    weights = inverse.astype(np.float64) @ deviations
    return Fit(weights, deviations - weights / np.diag(inverse))


def choose_noise(alike: Floats, table: Grades) -> float:
    """Return the noise whose left-out predictions tell models apart best.

    Routing asks which of several models is better, not how hard a prompt is for all of them: where
    several models were graded on the same prompts, the squared error is that of their differences.

    Args:
        alike: The kernel among prompts, `[prompts, prompts]`.
        table: Grades, `[prompts, models]`, NaN where a model was not graded.
    """
    errors = np.zeros(len(NOISES))
    for rows, graded in _by_rows(list(table.T)):
        errors += _errors(alike[np.ix_(rows, rows)], graded)
    return NOISES[int(np.argmin(errors))] if errors.any() else DEFAULT_NOISE


def _by_rows(columns: Sequence[Grades]) -> list[tuple[NDArray[np.intp], Grades]]:
    """Put models that were graded on the same prompts together."""
    found: dict[bytes, list[Grades]] = {}
    for one in columns:
        found.setdefault(np.isfinite(one).tobytes(), []).append(one)
    groups = []
    for models in found.values():
        rows = np.flatnonzero(np.isfinite(models[0]))
        if len(rows) > 1:
            groups.append((rows, np.stack(models, axis=1)[rows]))
    return groups


def _errors(alike: Floats, graded: Grades) -> Grades:
    """Return the squared left-out errors at each noise: of differences, if several models."""
    values, vectors = np.linalg.eigh(alike)
    rotated = vectors.T @ (graded - graded.mean(axis=0))
    found = []
    for noise in NOISES:
        shrunk = 1 / (np.maximum(values, 0) + noise)
        missed = (vectors @ (shrunk[:, None] * rotated)) / ((vectors * vectors) @ shrunk)[:, None]
        if missed.shape[1] > 1:
            missed -= missed.mean(axis=1, keepdims=True)
        found.append(float(np.square(missed).sum()))
    return np.array(found)
