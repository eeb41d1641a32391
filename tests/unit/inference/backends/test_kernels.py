from __future__ import annotations

from dataclasses import dataclass

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.kernels import Kernels, choose_kernels, halves_cache


@dataclass(frozen=True)
class Features:
    avx2: bool
    vnni: bool
    avx512_vnni: bool


OLD, WITH_AVX2 = Features(False, False, False), Features(True, False, False)
WITH_AVX_VNNI, WITH_AVX512_VNNI = Features(True, True, False), Features(True, True, True)


@pytest.mark.parametrize(
    ("kernels", "processor", "attention", "products"),
    [
        ("auto", OLD, False, False),
        ("auto", WITH_AVX2, True, True),
        ("auto", WITH_AVX_VNNI, True, False),
        ("auto", WITH_AVX512_VNNI, True, True),
        ("native", WITH_AVX2, True, True),
        ("native", WITH_AVX_VNNI, True, True),
        ("onnxruntime", WITH_AVX2, False, False),
    ],
)
def test_the_choice(kernels: str, processor: Features, attention: bool, products: bool) -> None:
    assert choose_kernels(kernels, processor) == Kernels(attention, products)


@pytest.mark.parametrize(
    ("kernels", "processor", "said"),
    [("native", OLD, "AVX2"), ("fast", WITH_AVX2, "must be one of auto, native, onnxruntime")],
)
def test_what_cannot_be_is_refused(kernels: str, processor: Features, said: str) -> None:
    with pytest.raises(RouterError, match=said) as raised:
        choose_kernels(kernels, processor)
    assert raised.value.reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("cache_type", "quantised", "halves"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("float16", False, True),
        ("float32", True, False),
    ],
)
def test_quantised_models_keep_halves(cache_type: str, quantised: bool, halves: bool) -> None:
    assert halves_cache(cache_type, "auto", quantised=quantised) is halves


@pytest.mark.parametrize(
    ("cache_type", "kernels", "said"),
    [("float16", "onnxruntime", "needs kernels"), ("int8", "auto", "auto, float32, float16")],
)
def test_a_cache_that_nobody_keeps_is_refused(cache_type: str, kernels: str, said: str) -> None:
    with pytest.raises(RouterError, match=said) as raised:
        halves_cache(cache_type, kernels, quantised=True)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
