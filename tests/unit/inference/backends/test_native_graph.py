"""Which nodes our kernels take over, and that nothing hostile or unusual is among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from llmrouter.inference.backends.native_graph import MatrixPlace, rewrite_graph

N, K, BLOCKS = 48, 64, 2
DATA = 4096

Change = Callable[[Any], None]


def _external(name: str, kind: int, shape: list[int], offset: int, length: int) -> Any:
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights"), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _model(bits: int = 8, *, zero_points: bool = False) -> Any:
    names = ["x", "data", "scales"] + ["zeros"] * zero_points
    node = helper.make_node(
        "MatMulNBits", names, ["y"], domain="com.microsoft",
        N=N, K=K, bits=bits, block_size=32, accuracy_level=4,
    )  # fmt: skip
    tensors = [
        _external("data", TensorProto.UINT8, [N, BLOCKS, 4 * bits], 0, N * K * bits // 8),
        _external("scales", TensorProto.FLOAT, [N, BLOCKS], 3072, N * BLOCKS * 4),
        _external("zeros", TensorProto.UINT8, [N, 1], 3500, N),
    ][: 3 if zero_points else 2]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "one", [info("x", TensorProto.FLOAT, [1, K])],
        [info("y", TensorProto.FLOAT, [1, N])], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("com.microsoft", 1)])


def _write(folder: Path, model: Any) -> Path:
    (folder / "weights").write_bytes(bytes(DATA))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(("bits", "zero_points"), [(8, False), (4, True)])
def test_a_matrix_is_found_and_its_weights_leave_the_graph(
    tmp_path: Path, bits: int, zero_points: bool
) -> None:
    file = _write(tmp_path, _model(bits, zero_points=zero_points))
    before = file.read_bytes()
    rewritten = rewrite_graph(file, multiply=True, pack=None)
    assert rewritten is not None
    zeros = 3500 if zero_points else None
    assert rewritten.matrices == (MatrixPlace(tmp_path / "weights", N, K, bits, 0, 3072, zeros),)
    graph = onnx.load_from_string(rewritten.graph).graph
    assert (graph.node[0].domain, list(graph.node[0].input)) == ("llmrouter", ["x"])
    assert [(one.name, one.i) for one in graph.node[0].attribute] == [("matrix", 0)]
    assert not graph.initializer
    assert file.read_bytes() == before


def test_weights_that_another_node_reads_stay(tmp_path: Path) -> None:
    model = _model()
    model.graph.node.append(helper.make_node("Shape", ["data"], ["size"]))
    rewritten = rewrite_graph(_write(tmp_path, model), multiply=True, pack=None)
    assert rewritten is not None
    graph = onnx.load_from_string(rewritten.graph).graph
    assert [tensor.name for tensor in graph.initializer] == ["data"]


def _attribute(name: str, value: object) -> Change:
    def change(model: Any) -> None:
        node = model.graph.node[0]
        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def _place(tensor: int, key: str, value: object) -> Change:
    def change(model: Any) -> None:
        for entry in model.graph.initializer[tensor].external_data:
            if entry.key == key:
                entry.value = str(value)

    return change


def _embedded(model: Any) -> None:
    tensor = model.graph.initializer[1]
    tensor.ClearField("data_location")
    del tensor.external_data[:]
    tensor.raw_data = bytes(N * BLOCKS * 4)


def _overridable(model: Any) -> None:
    model.graph.input.append(
        helper.make_tensor_value_info("data", TensorProto.UINT8, [N, BLOCKS, 32])
    )


def _with_a_body(model: Any) -> None:
    model.graph.node.append(helper.make_node("If", ["x"], [], then_branch=model.graph))


UNUSUAL: dict[str, Change] = {
    "another block": _attribute("block_size", 64),
    "another accuracy": _attribute("accuracy_level", 1),
    "another width": _attribute("bits", 2),
    "a depth of no whole blocks": _attribute("K", 65),
    "a size that is text": _attribute("N", "48"),
    "a negative size": _attribute("N", -48),
    "an attribute of the future": _attribute("weight_prepacked", 1),
    "a group index": lambda m: m.graph.node[0].input.extend(["", "data"]),
    "a bias": lambda m: m.graph.node[0].input.extend(["", "", "scales"]),
    "another operator": lambda m: setattr(m.graph.node[0], "op_type", "MatMul"),
    "another domain": lambda m: setattr(m.graph.node[0], "domain", "elsewhere"),
    "our domain": lambda m: m.opset_import.append(helper.make_opsetid("llmrouter", 1)),
    "weights in the graph": _embedded,
    "weights that may be fed": _overridable,
    "weights twice": lambda m: m.graph.initializer.append(m.graph.initializer[0]),
    "weights of another type": lambda m: setattr(m.graph.initializer[0], "data_type", 3),
    "another shape": lambda m: m.graph.initializer[0].dims.append(2),
    "a body inside a node": _with_a_body,
    "a place beyond the file": _place(0, "offset", DATA),
    "a place before the file": _place(1, "offset", -1),
    "another length": _place(0, "length", 7),
    "a length of no number": _place(0, "length", "many"),
    "a file elsewhere": _place(0, "location", "../weights"),
    "an absolute file": _place(0, "location", "/etc/passwd"),
    "a file that is missing": _place(0, "location", "nothing"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_left_to_onnxruntime(tmp_path: Path, name: str) -> None:
    model = _model()
    UNUSUAL[name](model)
    assert rewrite_graph(_write(tmp_path, model), multiply=True, pack=None) is None


def test_a_link_out_of_the_folder_is_left_to_onnxruntime(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file = _write(folder, _model())
    (folder / "weights").rename(tmp_path / "outside")
    (folder / "weights").symlink_to(tmp_path / "outside")
    assert rewrite_graph(file, multiply=True, pack=None) is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_a_broken_file_is_left_to_onnxruntime(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    assert rewrite_graph(file, multiply=True, pack=None) is None
    assert rewrite_graph(tmp_path / "missing", multiply=True, pack=None) is None


@pytest.mark.parametrize(
    ("bits", "zero_points", "size"),
    [(8, None, 128 + 16), (4, None, 64 + 16), (4, 300, 64 + 16 + 2), (8, 300, 128 + 16 + 4)],
)
def test_a_matrix_is_as_large_as_its_levels_scales_and_zero_points(
    bits: int, zero_points: int | None, size: int
) -> None:
    assert MatrixPlace(Path("data"), 2, 64, bits, 0, 200, zero_points).size_bytes == size
