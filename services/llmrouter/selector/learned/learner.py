"""The door to learned routing: asks chances, takes grades, and trains when there is enough new."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from llmrouter.common.prompt_features import PromptFeatures
from llmrouter.selector.learned.chances import UNTRAINED, Chance, Chances, train
from llmrouter.selector.learned.examples import Example, Examples
from llmrouter.selector.learned.persistence import dump, load

__all__ = ["ChanceEstimator", "Learner"]

_FIRST = 16
"""New grades before the first training."""
_SHARE = 0.05
"""New grades before another, as a share of those known."""


class ChanceEstimator(Protocol):
    """What a strategy needs of learned routing."""

    def chances(
        self, features: PromptFeatures | None, priors: Mapping[str, float]
    ) -> dict[str, Chance]:
        """Return the chance of each model of `priors` (name to configured quality, 0 to 1)."""
        ...


class Learner:
    """Learns online from graded outcomes. One event loop owns it; `training` may run in a thread.

    A strategy asks `chances`; `RateOutcome` calls `observe`; whoever owns the loop looks at `due`
    after a grade, runs what `training` returns in a thread and hands the result to `adopt`.
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
        """Return each model's chance; without features of the prompt, its prior."""
        if features is None:
            return {name: Chance(prior, 0) for name, prior in priors.items()}
        return self._chances.of(features, priors)

    def observe(self, key: str, features: PromptFeatures, model: str, grade: float) -> None:
        """Take in how one answer was graded.

        Args:
            key: The request's id.
            features: Those it was routed by.
            model: Who answered.
            grade: 0 (bad) to 1 (good): a thumb, a score over its range, a judge's verdict.

        Raises:
            ValueError: The grade is not in 0 to 1.
        """
        if not (math.isfinite(grade) and 0 <= grade <= 1):
            raise ValueError(f"the grade {grade} is not in 0 to 1")
        self._examples.add(Example(key, features, {model: grade}))
        self._new += 1

    def forget(self, model: str) -> None:
        """Drop what is known of a model; the next training is without it."""
        self._examples.forget(model)
        self._new += _FIRST

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

    def dump(self) -> bytes:
        """Return all that is known as bytes: see `persistence`."""
        return dump(self._examples.all())

    def restore(self, content: bytes) -> None:
        """Take in what `dump` returned; train afterwards.

        Raises:
            UnreadableStateError: The bytes are damaged; nothing was taken in.
        """
        for one in load(content):
            self._examples.add(one)
            self._new += len(one.grades)
