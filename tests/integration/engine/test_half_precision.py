"""A model whose keys, values and logits are float16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import structlog
from tests.integration.engine.conftest import SHAPE
from tests.integration.engine.driving import Ask, ReferenceLoop, library, run_alone, run_together
from tests.integration.engine.test_batching import assert_same, prompts
from tests.integration.engine.tiny_model import write_tiny_folder

from llmrouter import _native
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnxruntime import make_engine


@pytest.fixture(scope="module")
def half_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "half", external=True, half=True)


@contextmanager
def running(
    folder: Path, device: str = "cpu", slots: int = 8, cache_type: str = "auto"
) -> Iterator[_native.Engine]:
    options = BackendOptions(
        threads=2, slots=slots, device=device, prefill_chunk=16, cache_type=cache_type
    )
    engine = make_engine(folder, options)
    yield engine
    engine.stop()


def asks() -> list[Ask]:
    return [Ask(prompt, max_tokens=24) for prompt in prompts(16)]


def test_greedy_tokens_equal_an_independent_loop(half_folder: Path) -> None:
    with structlog.testing.capture_logs() as logs, running(half_folder) as engine:
        answers = run_together(engine, asks())
    assert logs == []
    reference = ReferenceLoop(half_folder / "model.onnx")
    for ask, answer in zip(asks(), answers, strict=True):
        assert answer.tokens == reference.greedy(ask.prompt, 24, [SHAPE.end_token])


def test_company_changes_not_a_bit(half_folder: Path) -> None:
    with running(half_folder) as engine:
        together = run_together(engine, asks())
    with running(half_folder, slots=1) as engine:
        alone = run_alone(engine, asks())
    assert_same(together, alone)


def test_a_position_takes_half_the_memory(half_folder: Path, tiny_folder: Path) -> None:
    def kept(folder: Path, cache_type: str) -> int:
        with running(folder, cache_type=cache_type) as engine:
            run_alone(engine, [Ask(prompts(4)[3], max_tokens=2)])
            return engine.statistics().prefix_bytes

    whole = kept(tiny_folder, "float32")
    assert 0 < 2 * kept(half_folder, "auto") == whole
    if _native.detect_processor().avx2:
        # A quantised model keeps halves where our own attention computes, whatever its graph has.
        assert 2 * kept(tiny_folder, "auto") == whole


@pytest.mark.skipif(not _native.detect_processor().avx2, reason="needs our own attention: AVX2")
def test_halves_move_logits_by_less_than_quantising_does(tiny_folder: Path) -> None:
    answers = []
    for cache_type in ("float32", "float16"):
        with running(tiny_folder, cache_type=cache_type) as engine:
            answers.append(
                run_together(engine, [Ask(prompt, max_tokens=1) for prompt in prompts(16)])
            )
    moved = [
        np.abs(whole.logits - half.logits).max() / np.abs(whole.logits).max()
        for whole, half in zip(*answers, strict=True)
    ]
    assert 0 < max(moved) < 2**-5  # A few steps of the 8-bit activations.


def test_logits_are_those_the_graph_computed(half_folder: Path) -> None:
    with running(half_folder) as engine:
        [answer] = run_alone(engine, [Ask([1, 2, 3], max_tokens=4)])
    assert answer.logits is not None
    assert np.array_equal(answer.logits, answer.logits.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_without_cuda_a_model_runs_on_the_processor_and_says_why(
    half_folder: Path, device: str
) -> None:
    _native.load_onnx_runtime(str(library()), 2)
    if "CUDAExecutionProvider" in _native.available_providers():
        pytest.skip("the installed ONNX Runtime has CUDA")
    with structlog.testing.capture_logs() as logs, running(half_folder, device) as engine:
        answers = run_together(engine, asks())
    assert all(answer.failed is None for answer in answers)
    [told] = logs
    assert (told["event"], told["model"]) == ("computing on the processor", "half")
    assert "CUDA" in told["why"]


def test_on_a_gpu_tokens_are_those_of_the_processor(half_folder: Path) -> None:
    _native.load_onnx_runtime(str(library()), 2)
    if "CUDAExecutionProvider" not in _native.available_providers():
        pytest.skip("needs a GPU and onnxruntime-gpu; not yet run on one")
    with running(half_folder) as engine:
        expected = run_together(engine, asks())
    with structlog.testing.capture_logs() as logs, running(half_folder, "cuda") as engine:
        answers = run_together(engine, asks())
    if logs:
        pytest.skip(f"no GPU here: {logs[0]['why']}")
    same = sum(one.tokens == other.tokens for one, other in zip(answers, expected, strict=True))
    assert same >= 0.9 * len(expected)  # float16 sums may round otherwise at a near tie
