"""The door for learned routing: who answers this question well, as a model of models sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llmrouter.selector.evidence import Array
from llmrouter.selector.plan import Selection

__all__ = ["Predictor"]


class Predictor(Protocol):
    """Predicts, for strategies with `predicts`.

    Its predictions are part of a choice's record, so that replaying needs no predictor.
    """

    def predict(self, request: Selection, models: Sequence[tuple[str, str]]) -> Array:
        """Return the chance that each model answers well: 0 to 1, in the order of `models`.

        Args:
            request: What is known of the request.
            models: Name and version of each.
        """
        ...
