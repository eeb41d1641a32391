"""Our own kernels in place of ONNX Runtime's: the tiny model runs alike, alone and in company."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.integration.engine.driving import Ask, run_alone, run_together

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.native_graph import rewrite_graph
from llmrouter.inference.backends.onnxruntime import make_engine

pytestmark = pytest.mark.skipif(
    not _native.detect_processor().avx2, reason="native kernels need a processor with AVX2"
)

MATRICES_OF_TINY = 13


@contextmanager
def running(
    folder: Path, kernels: str = "native", slots: int = 8, prefill_chunk: int = 16
) -> Iterator[_native.Engine]:
    options = BackendOptions(threads=2, slots=slots, prefill_chunk=prefill_chunk, kernels=kernels)
    engine = make_engine(folder, options)
    yield engine
    engine.stop()


def asks(max_tokens: int = 16) -> Sequence[Ask]:
    random = np.random.default_rng(1)
    lengths = [1, 2, 17, 100, *random.integers(1, 90, 20)]
    return [Ask(random.integers(0, 256, n).tolist(), max_tokens=max_tokens) for n in lengths]


def test_every_matrix_of_the_tiny_model_is_ours(external_folder: Path) -> None:
    rewritten = rewrite_graph(external_folder / "model.onnx", multiply=True, pack=None)
    assert rewritten is not None
    assert len(rewritten.matrices) == MATRICES_OF_TINY


@pytest.mark.parametrize("prefill_chunk", [3, 16, 256])
def test_prompts_generated_together_equal_each_alone_in_every_bit(
    external_folder: Path, prefill_chunk: int
) -> None:
    with running(external_folder, prefill_chunk=prefill_chunk) as engine:
        together = run_together(engine, asks())
    with running(external_folder, slots=1, prefill_chunk=256) as engine:
        alone = run_alone(engine, asks())
    for first, second in zip(together, alone, strict=True):
        assert first.failed is None
        assert first.tokens == second.tokens
        assert np.array_equal(first.logits, second.logits)


def test_logits_are_close_to_those_of_onnxruntimes_kernels(external_folder: Path) -> None:
    sides = []
    for kernels in ("native", "onnxruntime"):
        with running(external_folder, kernels) as engine:
            answers = run_together(engine, asks(max_tokens=1))
        sides.append(np.concatenate([answer.logits for answer in answers]))
    assert not np.array_equal(*sides), "both sides ran the same kernels"
    assert np.abs(sides[0] - sides[1]).max() < 0.1 * sides[1].std()


def test_a_graph_that_names_our_operator_itself_is_refused(
    tmp_path: Path, external_folder: Path
) -> None:
    folder = Path(shutil.copytree(external_folder, tmp_path / "hostile"))
    rewritten = rewrite_graph(folder / "model.onnx", multiply=True, pack=None)
    assert rewritten is not None
    (folder / "model.onnx").write_bytes(rewritten.graph)
    with pytest.raises(RouterError) as raised, running(folder):
        pass
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


def _model(place: _native.NativeMatrix, graph: bytes, folder: Path) -> _native.OrtModel:
    model = _native.OrtModel()
    model.path = str(folder / "model.onnx")
    model.graph, model.matrices = graph, [place]
    model.vocabulary, model.layers, model.kv_heads, model.head_size = 288, 2, 2, 16
    return model


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "/nonexistent"}, "cannot be read"),
        ({"data_offset": 1 << 40}, "ends before"),
        ({"scales_offset": -4}, "ends before"),
        ({"columns": 2**31 - 1}, "ends before"),
        ({"depth": 33}, "whole blocks"),
        ({"columns": -1}, "needs columns"),
        ({"bits": 5}, "4 or 8 bits"),
    ],
)
def test_matrices_that_are_not_in_the_file_are_refused(
    external_folder: Path, changes: dict[str, object], said: str
) -> None:
    rewritten = rewrite_graph(external_folder / "model.onnx", multiply=True, pack=None)
    assert rewritten is not None
    place = _native.NativeMatrix()
    place.file, place.columns, place.depth = str(rewritten.matrices[0].file), 64, 64
    for name, value in changes.items():
        setattr(place, name, value)
    with pytest.raises(_native.EngineError, match=said):
        _native.load_ort_decoder(
            _model(place, rewritten.graph, external_folder), slots=1, context=64
        )


def test_a_matrix_that_the_list_lacks_is_refused(external_folder: Path) -> None:
    rewritten = rewrite_graph(external_folder / "model.onnx", multiply=True, pack=None)
    assert rewritten is not None
    place = _native.NativeMatrix()
    model = _model(place, rewritten.graph, external_folder)
    model.matrices = []
    with pytest.raises(_native.EngineError, match="a matrix that is not there"):
        _native.load_ort_decoder(model, slots=1, context=64)
