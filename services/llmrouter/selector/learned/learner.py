"""The door to learned routing: asks chances, takes grades, and trains when there is enough new."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from llmrouter.common.prompt_features import PromptFeatures
from llmrouter.selector.learned.chances import UNTRAINED, Chance, Chances, train
from llmrouter.selector.learned.examples import Example, Examples

__all__ = ["Learner"]

_FIRST = 16
"""New grades before the first training."""
_SHARE = 0.05
"""New grades before another, as a share of those known."""


class Learner:
    """Learns online from graded outcomes. One event loop owns it; `training` may run in a thread.

    A predictor asks `chances`; `Teacher` calls `add`, looks at `due` after a grade, runs what
    `training` returns in a thread and hands the result to `adopt`.
    """

    def __init__(self, capacity: int = 4096) -> None:
        """Start without knowledge.

        Args:
            capacity: Graded prompts remembered, 1 KiB each; older ones go, so that old evidence
                fades. Training takes memory of 12 bytes and time with the square and cube of it.
        """
        self._examples = Examples(capacity)
        self._chances: Chances = UNTRAINED
        self._new = 0
        self._chosen_with = 0

    def chances(
        self, features: PromptFeatures | None, priors: Mapping[str, float]
    ) -> dict[str, Chance]:
        """Return the chance of each model of `priors` (name to configured quality, 0 to 1).

        Without features of the prompt it is the prior.
        """
        if features is None:
            return {name: Chance(prior, 0) for name, prior in priors.items()}
        return self._chances.of(features, priors)

    def add(self, example: Example) -> tuple[Example, tuple[str, ...]]:
        """Take in how answers to one prompt were graded.

        Returns:
            What is remembered of this prompt now, and the keys of those that had to go.

        Raises:
            ValueError: A grade is not in 0 to 1.
        """
        for grade in example.grades.values():
            if not (math.isfinite(grade) and 0 <= grade <= 1):
                raise ValueError(f"the grade {grade} is not in 0 to 1")
        self._new += len(example.grades)
        return self._examples.add(example)

    def grades(self, model: str) -> int:
        """Return how many graded answers of a model are remembered."""
        return self._examples.count(model)

    @property
    def due(self) -> bool:
        """Whether enough is new for another training."""
        return self._new >= max(_FIRST, _SHARE * len(self._examples))

    def training(self) -> Callable[[], Chances]:
        """Return the work of one training over what is known now; it may run in any thread.

        The noise is chosen again whenever the number of examples has doubled.
        """
        examples = self._examples.all()
        self._new = 0
        noise: float | None = self._chances.noise
        if len(examples) >= 2 * self._chosen_with:
            noise, self._chosen_with = None, len(examples)
        return lambda: train(examples, noise)

    def adopt(self, chances: Chances) -> None:
        """Answer from what a training found."""
        self._chances = chances
