"""Graphs that others wrote: what would not end, or would fill memory, is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.onnx_decoder import read_decoder_graph

CONTRIB = "com.microsoft"


def value(name: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, None)


def decoder(*nodes: Any, initializers: tuple[Any, ...] = ()) -> Any:
    """A decoder of one layer, as far as the check looks, with `nodes` behind it."""
    attention = helper.make_node("GroupQueryAttention", ["x"], ["y"], domain=CONTRIB)
    inputs = ["input_ids", "past_key_values.0.key", "past_key_values.0.value"]
    graph = helper.make_graph(
        [attention, *nodes], "g", [value(name) for name in inputs], [value("logits")],
        initializer=initializers,
    )  # fmt: skip
    return helper.make_model(graph)


def branch(*nodes: Any) -> Any:
    return helper.make_graph(nodes, "branch", [], [value("out")])


def written(folder: Path, model: Any) -> Path:
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


def refusal(folder: Path, model: Any) -> str:
    with pytest.raises(RouterError) as raised:
        read_decoder_graph(written(folder, model))
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    return raised.value.message


ONE = numpy_helper.from_array(np.ones(1, np.float32))
CONSTANT = helper.make_node("Constant", [], ["out"], value=ONE)


@pytest.mark.parametrize("kind", ["Loop", "Scan", "SequenceMap"])
def test_what_may_never_end_is_refused(tmp_path: Path, kind: str) -> None:
    node = helper.make_node(kind, ["n", "go"], ["z"], name="turns", body=branch(CONSTANT))
    assert f"has 'turns', the operator '{kind}'" in refusal(tmp_path, decoder(node))


@pytest.mark.parametrize(
    "kind", ["ConstantOfShape", "Expand", "Range", "Tile", "Pad", "Resize", "OneHot", "EyeLike"]
)
def test_what_is_as_large_as_a_number_says_is_refused(tmp_path: Path, kind: str) -> None:
    node = helper.make_node(kind, ["shape"], ["z"])
    assert f"the operator '{kind}', which is not supported" in refusal(tmp_path, decoder(node))


def test_operators_of_strangers_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["a", "b"], ["z"], domain="com.example")
    assert "the operator 'Add', which is not supported" in refusal(tmp_path, decoder(node))


def test_functions_that_a_graph_brings_along_are_refused(tmp_path: Path) -> None:
    model = decoder()
    made = helper.make_function("", "Add", ["a"], ["out"], [CONSTANT], model.opset_import)
    model.functions.append(made)
    assert "the function 'Add' of its own" in refusal(tmp_path, model)


def test_a_choice_between_constants_is_taken_and_one_between_programs_is_not(
    tmp_path: Path,
) -> None:
    """Models with two sets of angles choose between them by the length of the text."""
    choice = helper.make_node(
        "If", ["long"], ["z"], then_branch=branch(CONSTANT), else_branch=branch(CONSTANT)
    )
    assert read_decoder_graph(written(tmp_path, decoder(choice))).layers == 1
    loop = helper.make_node("Loop", ["n", "go"], ["out"], body=branch(CONSTANT))
    choice = helper.make_node(
        "If", ["long"], ["z"], name="which", then_branch=branch(CONSTANT), else_branch=branch(loop)
    )
    assert "has 'which', the operator 'If', that computes" in refusal(tmp_path, decoder(choice))


@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_sparse_tensors_are_refused(tmp_path: Path, place: str) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    sparse = helper.make_sparse_tensor(values, indices, [2**40])
    model = decoder()
    if place == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        model.graph.node.append(helper.make_node("Constant", [], ["z"], sparse_value=sparse))
    assert "sparse tensors" in refusal(tmp_path, model)


@pytest.mark.parametrize("place", ["constant", "branch"])
def test_tensors_are_looked_for_inside_of_the_folder_wherever_they_are_named(
    tmp_path: Path, place: str
) -> None:
    (tmp_path.parent / "secret").write_bytes(b"\0" * 64)
    tensor = TensorProto(name="w", data_type=1, dims=[16], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    node = helper.make_node("Constant", [], ["out"], value=tensor)
    if place == "branch":
        sides = {"then_branch": branch(node), "else_branch": branch(node)}
        node = helper.make_node("If", ["long"], ["z"], **sides)
    assert "leads out" in refusal(tmp_path, decoder(node))
