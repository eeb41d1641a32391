"""What was learned, as the selector asks for it: one chance per model version."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrouter.selector.evidence import Array
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.plan import Selection
from llmrouter.selector.prediction import Predictions

__all__ = ["LearnedPredictor"]


class LearnedPredictor:
    """Asks a learner. The versions of a model share its grades and its highest quality."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def predict(
        self, request: Selection, models: Sequence[tuple[str, str]], quality: Array
    ) -> Predictions:
        """Return each one's chance and what it rests on; arguments as `Predictor.predict`."""
        priors: dict[str, float] = {}
        for (name, _), prior in zip(models, quality.tolist(), strict=True):
            priors[name] = max(prior, priors.get(name, 0.0))
        found = self._learner.chances(request.features, priors)
        known = [found[name] for name, _ in models]
        return Predictions(
            np.array([one.value for one in known], np.float64),
            np.array([one.grades for one in known], np.float64),
        )
