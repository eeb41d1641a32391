"""Tokens of many sequences in one run: each as if it were alone, and as ONNX Runtime has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from tests.integration.engine.driving import Ask, run_alone, run_together
from tests.integration.models.driving import demo_folder

from llmrouter import _native
from llmrouter.inference.backends import native_graph
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnxruntime import make_engine
from llmrouter.inference.backends.packed_graph import DecoderTensors, pack_tokens

pytestmark = pytest.mark.skipif(
    not _native.detect_processor().avx2, reason="our attention needs a processor with AVX2"
)


@contextmanager
def running(
    folder: Path, kernels: str = "native", slots: int = 8, chunk: int = 256
) -> Iterator[_native.Engine]:
    options = BackendOptions(
        threads=2, slots=slots, kernels=kernels, prefill_chunk=chunk, speculation_tokens=0
    )
    engine = make_engine(folder, options)
    yield engine
    engine.stop()


def asks(max_tokens: int, vocabulary: int = 256) -> list[Ask]:
    random = np.random.default_rng(5)
    lengths = [1, 2, 3, 7, 8, 9, 17, 31, 33, 64, 100]
    return [Ask(random.integers(0, vocabulary, n).tolist(), max_tokens) for n in lengths]


@pytest.mark.parametrize("kind", ["tiny", "external", "foreign"])
def test_logits_are_close_to_those_of_onnxruntimes_attention(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"{kind}_folder")
    sides = []
    for kernels in ("native", "onnxruntime"):
        with running(folder, kernels) as engine:
            answers = run_together(engine, asks(max_tokens=1))
        sides.append(np.concatenate([answer.logits for answer in answers]))
    assert not np.array_equal(*sides), "both sides ran the same attention"
    assert np.abs(sides[0] - sides[1]).max() < 0.1 * sides[1].std()


def test_an_answer_is_the_same_bits_however_prompts_are_cut_and_whoever_shares_the_run(
    external_folder: Path,
) -> None:
    with running(external_folder, slots=1) as engine:
        assert engine.rounds_alike
        alone = run_alone(engine, asks(max_tokens=20))
    for slots, chunk in ((8, 2), (8, 16), (3, 5), (10, 256)):
        with running(external_folder, slots=slots, chunk=chunk) as engine:
            together = run_together(engine, asks(max_tokens=20))
        for first, second in zip(together, alone, strict=True):
            assert first.failed is None
            assert first.tokens == second.tokens
            assert np.array_equal(first.logits, second.logits)


def test_prompts_and_decoding_share_one_run(external_folder: Path) -> None:
    with running(external_folder, slots=8, chunk=16) as engine:
        answers = run_together(engine, asks(max_tokens=20))
        steps = engine.statistics().steps
    computed = sum(len(answer.tokens) for answer in answers)
    assert steps < computed / 3


def test_a_graph_that_does_not_run_packed_is_left_to_onnxruntime(
    external_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(graph: Any, names: DecoderTensors) -> bool:
        packed = pack_tokens(graph, names)
        [keep] = [node for node in graph.node if node.op_type == "KeepRows"]
        keep.op_type = "Identity"
        keep.domain = ""
        return packed

    monkeypatch.setattr(native_graph, "pack_tokens", breaking)
    with structlog.testing.capture_logs() as logs, running(external_folder) as engine:
        assert not engine.rounds_alike
        answers = run_alone(engine, asks(max_tokens=1))
    assert all(answer.failed is None for answer in answers)
    [told] = logs
    assert (told["event"], told["model"]) == ("attention left to ONNX Runtime", "external")


@pytest.mark.model
def test_a_long_prompt_of_the_unquantised_demo_model_is_computed_as_onnxruntime_does() -> None:
    folder = demo_folder("fp32").path
    random = np.random.default_rng(2)
    prompts = [random.integers(100, 40_000, length).tolist() for length in (900, 40, 3)]
    sides = []
    for kernels in ("native", "onnxruntime"):
        with running(folder, kernels, chunk=128) as engine:
            answers = run_together(engine, [Ask(prompt, max_tokens=2) for prompt in prompts])
        sides.append(answers)
    for ours, theirs in zip(*sides, strict=True):
        assert ours.tokens == theirs.tokens
        assert np.abs(ours.logits - theirs.logits).max() < 1e-3
