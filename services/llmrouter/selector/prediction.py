"""The door for learned routing: who answers this question well, as a model of models sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from llmrouter.selector.evidence import Array
from llmrouter.selector.plan import Selection

__all__ = ["Predictions", "Predictor"]


class Predictions(NamedTuple):
    """What is predicted of n models."""

    chances: Array
    """n: of answering well; 0 to 1."""
    grades: Array
    """n: graded answers that each chance rests on; 0 where it is the configured quality alone."""


class Predictor(Protocol):
    """Predicts, for strategies with `predicts`.

    Its predictions are part of a choice's record, so that replaying needs no predictor.
    """

    def predict(
        self, request: Selection, models: Sequence[tuple[str, str]], quality: Array
    ) -> Predictions:
        """Return what is predicted of each of n models, in the order of `models`.

        Args:
            request: What is known of the request.
            models: Name and version of each.
            quality: n: what each is believed to be worth before anything was graded, 0 to 1.
        """
        ...
