from __future__ import annotations

import errno
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models import quality
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.quality import _perplexity, write_reference

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


def test_log_probabilities_that_fill_the_disk_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    part = np.zeros((64, 1000), np.float32)
    monkeypatch.setattr(quality, "_log_probabilities", lambda *_, **__: iter([(64, part)]))
    with pytest.raises(OSError, match="No space left") as raised:
        write_reference(SimpleNamespace(model_file=FILE), [1] * 64, Path("/dev/full"), silent)
    assert raised.value.errno == errno.ENOSPC
