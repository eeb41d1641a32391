"""Our own kernels in place of ONNX Runtime's: which matrices they take, and which they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.native_graph import rewrite_graph
from llmrouter.inference.backends.onnxruntime import make_engine

pytestmark = pytest.mark.skipif(
    not _native.detect_processor().avx2, reason="native kernels need a processor with AVX2"
)

MATRICES_OF_TINY = 13


def test_every_matrix_of_the_tiny_model_is_ours(external_folder: Path) -> None:
    rewritten = rewrite_graph(external_folder / "model.onnx", multiply=True, pack=None)
    assert rewritten is not None
    assert len(rewritten.matrices) == MATRICES_OF_TINY


def test_a_graph_that_names_our_operator_itself_is_refused(
    tmp_path: Path, external_folder: Path
) -> None:
    folder = Path(shutil.copytree(external_folder, tmp_path / "hostile"))
    rewritten = rewrite_graph(folder / "model.onnx", multiply=True, pack=None)
    assert rewritten is not None
    (folder / "model.onnx").write_bytes(rewritten.graph)
    with pytest.raises(RouterError) as raised:
        make_engine(folder, BackendOptions(threads=2, slots=8, kernels="native"))
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


def test_what_our_kernels_hold_is_no_more_than_the_folder_counts_for(
    tmp_path: Path, external_folder: Path
) -> None:
    """Each product holds weights in an order of its own, though all name one place of a file."""
    folder = Path(shutil.copytree(external_folder, tmp_path / "hostile"))
    options = BackendOptions(threads=2, slots=8, kernels="native")
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    product = next(node for node in model.graph.node if node.op_type == "MatMulNBits")
    for number in range(200):
        again = onnx.NodeProto()
        again.CopyFrom(product)
        again.name = again.output[0] = f"again.{number}"
        model.graph.node.insert(list(model.graph.node).index(product) + 1, again)
    onnx.save(model, str(folder / "model.onnx"))
    with pytest.raises(RouterError, match=r"multiplies by \d+ bytes of weights") as raised:
        make_engine(folder, options)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert "model.onnx" in raised.value.message


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
