"""Graphs that others wrote: what would not end, or would fill memory, is refused by its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.onnx_decoder import read_decoder_graph
from llmrouter.inference.models.graph_check import check_graph, load_graph
from llmrouter.inference.models.graph_operators import GraphKind

CONTRIB = "com.microsoft"


def value(name: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, None)


def decoder(*nodes: Any, initializers: tuple[Any, ...] = ()) -> Any:
    """A decoder of one layer, as far as the check looks, with `nodes` behind it."""
    attention = helper.make_node("GroupQueryAttention", ["input_ids"], ["y"], domain=CONTRIB)
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


def endless(file: Path) -> None:
    """Write a decoder that would never end."""
    turns = helper.make_node("Loop", ["n", "go"], ["z"], name="turns", body=branch(CONSTANT))
    onnx.save(decoder(turns), str(file))


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
        "If", ["input_ids"], ["z"], then_branch=branch(CONSTANT), else_branch=branch(CONSTANT)
    )
    assert read_decoder_graph(written(tmp_path, decoder(choice))).layers == 1
    loop = helper.make_node("Loop", ["n", "go"], ["out"], body=branch(CONSTANT))
    choice = helper.make_node(
        "If",
        ["input_ids"],
        ["z"],
        name="which",
        then_branch=branch(CONSTANT),
        else_branch=branch(loop),
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
        node = helper.make_node("If", ["input_ids"], ["z"], **sides)
    assert "leads out" in refusal(tmp_path, decoder(node))


def weights(name: str, *dims: int) -> Any:
    return numpy_helper.from_array(np.zeros(dims, np.float16), name)


@pytest.mark.parametrize("kind", ["Add", "Where", "MatMul", "Gather"])
def test_what_two_short_vectors_would_fill_memory_with_is_refused(
    tmp_path: Path, kind: str
) -> None:
    stored = (weights("row", 1, 5000), weights("column", 5000, 1))
    node = helper.make_node(kind, ["column", "row"], ["z"], name="outer")
    told = refusal(tmp_path, decoder(node, initializers=stored))
    assert "makes 25000000 values of its weights alone by 'outer'" in told
    assert "at most 16777216" in told


@pytest.mark.parametrize("by", ["Transpose", "If"])
def test_the_shape_of_what_was_computed_is_not_trusted(tmp_path: Path, by: str) -> None:
    stored = (weights("row", 1, 5000), weights("go"))
    made = helper.make_node("Transpose", ["row"], ["column"])
    if by == "If":
        written_out = helper.make_node("Constant", [], ["out"], value=weights("w", 5000, 1))
        sides = {"then_branch": branch(written_out), "else_branch": branch(written_out)}
        made = helper.make_node("If", ["go"], ["column"], **sides)
    node = helper.make_node("Add", ["column", "row"], ["z"], name="outer")
    assert "by 'outer'" in refusal(tmp_path, decoder(made, node, initializers=stored))


def test_what_many_small_steps_make_counts_together(tmp_path: Path) -> None:
    steps = [helper.make_node("Concat", [name] * 2, [f"{name}x"]) for name in _names(30)]
    told = refusal(tmp_path, decoder(*steps, initializers=(weights("w", 100),)))
    assert "the operator 'Concat'" in told


def _names(count: int) -> list[str]:
    return ["w" + "x" * index for index in range(count)]


def test_weights_may_be_turned_scaled_and_taken_out_of_their_blocks(tmp_path: Path) -> None:
    stored = (weights("w", 4096, 4096), weights("by", 4096, 1), weights("one"))
    steps = [
        helper.make_node("Mul", ["w", "by"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"]),
        helper.make_node("Mul", ["turned", "one"], ["again"]),
        helper.make_node("Shape", ["w"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["rows"]),
    ]
    file = written(tmp_path, decoder(*steps, initializers=stored))
    assert read_decoder_graph(file).layers == 1


def encoder_refusal(folder: Path, *nodes: Any, initializers: tuple[Any, ...] = ()) -> str:
    graph = helper.make_graph(
        nodes, "g", [value("input_ids", TensorProto.INT64)], [value("z")], initializer=initializers
    )
    file = written(folder, helper.make_model(graph))
    with pytest.raises(RouterError) as raised:
        check_graph(file, load_graph(file), GraphKind.ENCODER)
    return raised.value.message


def numbers(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


@pytest.mark.parametrize("kind", ["Loop", "Scan", "NonMaxSuppression", "Resize"])
def test_encoders_that_may_never_end_are_refused(tmp_path: Path, kind: str) -> None:
    node = helper.make_node(kind, ["input_ids"], ["z"], name="turns")
    told = encoder_refusal(tmp_path, node)
    assert f"has 'turns', the operator '{kind}', which is not supported in an encoder" in told


@pytest.mark.parametrize(
    ("kind", "inputs", "made"),
    [
        ("ConstantOfShape", ["big"], 10**9),
        ("Expand", ["two", "big"], 2 * 10**9),
        ("Range", ["none", "end", "one"], 10**9),
    ],
)
def test_encoders_that_fill_memory_by_a_number_are_refused(
    tmp_path: Path, kind: str, inputs: list[str], made: int
) -> None:
    node = helper.make_node(kind, inputs, ["z"])
    stored = (
        numbers("big", 1000, 1000, 1000), numbers("two", 1, 1), numbers("none", 0),
        numbers("end", 10**9), numbers("one", 1),
    )  # fmt: skip
    assert f"makes {made} values" in encoder_refusal(tmp_path, node, initializers=stored)


def test_numbers_that_are_computed_of_weights_size_nothing(tmp_path: Path) -> None:
    more = helper.make_node("Mul", ["n", "n"], ["n2"])
    node = helper.make_node("ConstantOfShape", ["n2"], ["z"])
    told = encoder_refusal(tmp_path, more, node, initializers=(numbers("n", 10**5),))
    assert "makes no known number of values" in told


def test_sizes_that_come_of_a_text_are_taken(tmp_path: Path) -> None:
    """As PyTorch exports the mask of an encoder."""
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"]),
        helper.make_node("Expand", ["ones", "shape"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("input_ids", TensorProto.INT64)], [value("z", TensorProto.FLOAT)]
    )
    file = written(tmp_path, helper.make_model(graph))
    check_graph(file, load_graph(file), GraphKind.ENCODER)


@pytest.mark.parametrize("place", ["file", "beside", "hole"])
def test_weights_that_are_not_there_do_not_raise_the_bound(tmp_path: Path, place: str) -> None:
    ghost = TensorProto(name="ghost", data_type=1, dims=[2**50])
    if place != "file":
        (tmp_path / "weights").write_bytes(b"\0" * 4)
        if place == "hole":
            os.truncate(tmp_path / "weights", 2**36)
        ghost.data_location = TensorProto.EXTERNAL
        ghost.external_data.add(key="location", value="weights")
    stored = (weights("row", 1, 5000), weights("column", 5000, 1), ghost)
    node = helper.make_node("Add", ["column", "row"], ["z"], name="outer")
    assert "at most 16777216" in refusal(tmp_path, decoder(node, initializers=stored))


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
@pytest.mark.timeout(30)
def test_a_tensor_of_more_dimensions_than_weights_have_is_refused(
    tmp_path: Path, place: str
) -> None:
    """The product of 400,000 sizes takes minutes."""
    tensor = TensorProto(name="deep", data_type=1, dims=[2**62] * 400_000, raw_data=b"")
    node = helper.make_node("Constant", [], ["out"], value=tensor)
    if place == "initializer":
        model = decoder(initializers=(tensor,))
    elif place == "constant":
        model = decoder(node)
    else:
        sides = {"then_branch": branch(node), "else_branch": branch(node)}
        model = decoder(helper.make_node("If", ["input_ids"], ["z"], **sides))
    told = refusal(tmp_path, model)
    assert "model.onnx: gives the tensor 'deep' 400000 dimensions; at most 8" in told


@pytest.mark.timeout(30)
def test_the_product_of_what_many_inputs_hold_stays_a_short_number(tmp_path: Path) -> None:
    huge = TensorProto(name="w", data_type=1, dims=[2**62] * 8, raw_data=b"")
    node = helper.make_node("Gather", ["w"] * 400_000, ["z"], name="many")
    told = refusal(tmp_path, decoder(node, initializers=(huge,)))
    assert "makes no known number of values of its weights alone by 'many'" in told


def test_steps_before_their_inputs_are_refused(tmp_path: Path) -> None:
    stored = (weights("row", 1, 5000), weights("column", 5000, 1))
    outer = helper.make_node("Add", ["turned", "row"], ["z"], name="outer")
    turned = helper.make_node("Neg", ["column"], ["turned"])
    told = refusal(tmp_path, decoder(outer, turned, initializers=stored))
    assert "computes 'outer' before its inputs" in told


def test_what_a_choice_takes_from_outside_counts(tmp_path: Path) -> None:
    def side(name: str) -> Any:
        return branch(helper.make_node("Identity", [name], ["out"]))

    stored = (weights("row", 1, 5000), weights("column", 5000, 1), weights("go"))
    choices = [
        helper.make_node("If", ["go"], [f"{one}2"], then_branch=side(one), else_branch=side(one))
        for one in ("row", "column")
    ]
    outer = helper.make_node("Add", ["column2", "row2"], ["z"], name="outer")
    assert "by 'outer'" in refusal(tmp_path, decoder(*choices, outer, initializers=stored))
