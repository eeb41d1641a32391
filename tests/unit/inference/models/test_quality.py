from __future__ import annotations

import math
from pathlib import Path

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.quality import _perplexity

FILE = Path("tiny/model.onnx")


def test_perplexity_is_the_exponential_of_the_mean_surprise() -> None:
    assert _perplexity(9 * math.log(20), 10, FILE) == pytest.approx(20)


@pytest.mark.parametrize(
    ("surprise", "tokens"), [(0.0, 1), (math.nan, 10), (math.inf, 10), (1e9, 10)]
)
def test_weights_that_predict_no_numbers_are_refused(surprise: float, tokens: int) -> None:
    with pytest.raises(RouterError) as refused:
        _perplexity(surprise, tokens, FILE)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert refused.value.message.startswith("tiny/model.onnx: ")
