"""How alike two prompts are: Laplace kernels over their shapes and a cosine over their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrouter.common.prompt_features import SHAPE, SKETCH_SIZE, PromptFeatures

__all__ = [
    "WORDS",
    "Floats",
    "Points",
    "likeness",
    "points_of",
    "shape_distances",
    "shape_likeness",
]

Floats = NDArray[np.float32]

WORDS = 1 / 3
"""Share of the words in the likeness; the shape has the rest."""
SMALLEST_SPREAD = 1.0
"""Least standard deviation a shape's number is divided by, in its bytes' units."""


@dataclass(frozen=True, slots=True)
class Points:
    """Prompts as numbers."""

    shapes: Floats
    """`[points, len(SHAPE)]`, 0 to 255."""
    words: Floats
    """`[points, SKETCH_SIZE]`, each row of norm 1, or 0 for a prompt without words."""

    def __len__(self) -> int:
        """Return how many prompts there are."""
        return len(self.shapes)

    def take(self, rows: NDArray[np.intp]) -> Points:
        """Return some of the prompts, in the order of `rows`."""
        return Points(self.shapes[rows], self.words[rows])

    def spread(self) -> Floats:
        """Return the standard deviation of each of the shape's numbers, `[len(SHAPE)]`."""
        deviation: Floats = self.shapes.std(axis=0).astype(np.float32)
        return np.maximum(deviation, np.float32(SMALLEST_SPREAD))


def points_of(features: Sequence[PromptFeatures]) -> Points:
    """Return prompts' features as numbers."""
    shapes = np.frombuffer(b"".join(one.shape for one in features), np.uint8)
    sketches = np.frombuffer(b"".join(one.sketch for one in features), np.int8)
    words = sketches.reshape(-1, SKETCH_SIZE).astype(np.float32)
    norms = np.linalg.norm(words, axis=1, keepdims=True)
    words /= np.maximum(norms, 1.0)
    return Points(shapes.reshape(-1, len(SHAPE)).astype(np.float32), words)


def shape_distances(some: Floats, others: Floats, spread: Floats) -> Floats:
    """Return mean distances in standard deviations, `[len(some), len(others)]`.

    One of the shape's numbers after the other, so that no array has three dimensions.
    """
    if len(some) == 1:
        alone: Floats = np.abs(others - some) @ (1 / (spread * len(spread)))
        return alone[None, :]
    left, right = (some / spread).T.copy(), (others / spread).T.copy()
    total = np.zeros((len(some), len(others)), np.float32)
    step = np.empty_like(total)
    for mine, theirs in zip(left, right, strict=True):
        np.subtract(mine[:, None], theirs, out=step)
        np.abs(step, out=step)
        total += step
    total /= len(spread)
    return total


def shape_likeness(distances: Floats) -> Floats:
    """Return the shape's part of the kernel: the mean of e^-d, e^-2d and e^-4d, times its share.

    Three widths at once, so that none has to be chosen.
    """
    near: Floats = np.exp(-distances)
    nearer = near * near
    near += nearer
    nearer *= nearer
    near += nearer
    near *= np.float32((1 - WORDS) / 3)
    return near


def likeness(points: Points, spread: Floats) -> Floats:
    """Return the kernel among the points, `[points, points]`: 1 on the diagonal."""
    alike = shape_likeness(shape_distances(points.shapes, points.shapes, spread))
    alike += np.float32(WORDS) * (points.words @ points.words.T)
    return alike
