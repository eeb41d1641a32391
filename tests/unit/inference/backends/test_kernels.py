from __future__ import annotations

from dataclasses import dataclass

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.kernels import choose_native


@dataclass(frozen=True)
class Features:
    avx2: bool
    vnni: bool


OLD, WITH_AVX2, WITH_VNNI = Features(False, False), Features(True, False), Features(True, True)


@pytest.mark.parametrize(
    ("kernels", "processor", "native"),
    [
        ("auto", OLD, False),
        ("auto", WITH_AVX2, True),
        ("auto", WITH_VNNI, False),
        ("native", WITH_AVX2, True),
        ("native", WITH_VNNI, True),
        ("onnxruntime", WITH_AVX2, False),
    ],
)
def test_the_choice(kernels: str, processor: Features, native: bool) -> None:
    assert choose_native(kernels, processor) is native


@pytest.mark.parametrize(
    ("kernels", "processor", "said"),
    [("native", OLD, "AVX2"), ("fast", WITH_AVX2, "must be one of auto, native, onnxruntime")],
)
def test_what_cannot_be_is_refused(kernels: str, processor: Features, said: str) -> None:
    with pytest.raises(RouterError, match=said) as raised:
        choose_native(kernels, processor)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
