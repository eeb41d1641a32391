"""The graded answers that are learned from: a bounded memory, the oldest prompt first to go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrouter.common.prompt_features import PromptFeatures

__all__ = ["Example", "Examples", "grade_table"]


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt and how the answers to it were graded."""

    key: str
    """The plan's id; a later grade under the same plan joins its example."""
    features: PromptFeatures
    grades: Mapping[str, float]
    """0 (bad) to 1 (good) for each model that answered."""
    at: float = 0.0
    """When it was first graded, in seconds since the epoch."""


class Examples:
    """Examples in the order in which they were first seen."""

    def __init__(self, capacity: int) -> None:
        """Start empty.

        Args:
            capacity: Prompts remembered at most; about 1 KiB each.
        """
        self._capacity = capacity
        self._kept: OrderedDict[str, Example] = OrderedDict()

    def __len__(self) -> int:
        """Return how many prompts are remembered."""
        return len(self._kept)

    def add(self, example: Example) -> tuple[Example, tuple[str, ...]]:
        """Remember grades; those of a prompt already remembered join or replace its own.

        Returns:
            What is remembered of this prompt now, and the keys of those that had to go.
        """
        known = self._kept.get(example.key)
        if known is not None:
            merged = {**known.grades, **example.grades}
            example = replace(known, grades=merged)
        self._kept[example.key] = example
        gone = []
        while len(self._kept) > self._capacity:
            gone.append(self._kept.popitem(last=False)[0])
        return example, tuple(gone)

    def count(self, model: str) -> int:
        """Return how many graded answers of a model are remembered."""
        return sum(model in one.grades for one in self._kept.values())

    def all(self) -> tuple[Example, ...]:
        """Return what is remembered now; unchanging, so that a thread may work on it."""
        return tuple(self._kept.values())


def grade_table(examples: Iterable[Example]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the models in order of their names, and `[examples, models]` grades, NaN for none."""
    listed = tuple(examples)
    models = tuple(sorted({name for one in listed for name in one.grades}))
    column = {name: index for index, name in enumerate(models)}
    table = np.full((len(listed), len(models)), np.nan)
    for row, one in enumerate(listed):
        for name, grade in one.grades.items():
            table[row, column[name]] = grade
    return models, table
