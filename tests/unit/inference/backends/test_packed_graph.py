"""Which graphs may take the tokens of many sequences side by side, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from llmrouter.inference.backends.packed_graph import DecoderTensors, pack_tokens

NAMES = DecoderTensors(
    input_ids="input_ids",
    logits="logits",
    past_key="past.%d.key",
    past_value="past.%d.value",
    layers=2,
    kv_heads=1,
    head_size=8,
    vocabulary=5,
)

Change = Callable[[Any], None]


def _attention(layer: int, source: str, *, together: bool, **attributes: object) -> Any:
    projected = [source, "", ""] if together else [source, f"k{layer}", f"v{layer}"]
    past = [f"past.{layer}.key", f"past.{layer}.value"]
    return helper.make_node(
        "GroupQueryAttention",
        [*projected, *past, "lengths", "total", "cos", "sin"],
        [f"attended{layer}", f"present.{layer}.key", f"present.{layer}.value"],
        domain="com.microsoft",
        **{"num_heads": 2, "kv_num_heads": 1, "do_rotary": 1, "scale": 0.25, **attributes},
    )


def _graph(*, together: bool = True, cut: bool = True, **attributes: object) -> Any:
    """A decoder of two layers with little in them but attention."""
    node = helper.make_node
    nodes = [
        node("ReduceSum", ["attention_mask"], ["lengths"], keepdims=0),
        node("Shape", ["attention_mask"], ["total"]),
        node("Gather", ["table", "input_ids"], ["x0"]),
    ]
    for layer in (0, 1):
        parts = ("k", "v") if not together else ()
        nodes += [node("MatMul", [f"x{layer}", part], [f"{part}{layer}"]) for part in parts]
        nodes += [
            node("MatMul", [f"x{layer}", "q"], [f"q{layer}"]),
            _attention(layer, f"q{layer}", together=together, **attributes),
            node("MatMul", [f"attended{layer}", "o"], [f"o{layer}"]),
            node("Add", [f"x{layer}", f"o{layer}"], [f"x{layer + 1}"]),
        ]
    if cut:
        nodes += [
            node("Neg", ["logits_to_keep"], ["start"]),
            node("Slice", ["x2", "start", "end", "axis"], ["kept"]),
        ]
    nodes.append(node("MatMul", ["kept" if cut else "x2", "head"], ["logits"]))
    info = helper.make_tensor_value_info
    inputs = [info(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids", "attention_mask")]
    outputs = [info("logits", TensorProto.FLOAT, ["b", 1, 5])]
    for layer in (0, 1):
        for part in ("key", "value"):
            inputs.append(info(f"past.{layer}.{part}", TensorProto.FLOAT, ["b", 1, "p", 8]))
            outputs.append(info(f"present.{layer}.{part}", TensorProto.FLOAT, ["b", 1, "p", 8]))
    constants = [
        numpy_helper.from_array(np.zeros(1, np.float32), name)
        for name in ("table", "q", "k", "v", "o", "head", "cos", "sin")
    ]
    numbers = {"end": 2**63 - 1, "axis": 1, "last": -1, "early": 5}
    constants += [numpy_helper.from_array(np.array([n]), name) for name, n in numbers.items()]
    keep = helper.make_tensor("logits_to_keep", TensorProto.INT64, [1], [1])
    return helper.make_graph(nodes, "decoder", inputs, outputs, [*constants, keep])


def _kinds(graph: Any) -> list[str]:
    return [f"{node.domain}.{node.op_type}" for node in graph.node]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("cut", [True, False])
def test_attention_and_the_cut_before_the_head_become_ours_and_the_mask_is_gone(
    together: bool, cut: bool
) -> None:
    graph = _graph(together=together, cut=cut)
    assert pack_tokens(graph, NAMES)
    kinds = _kinds(graph)
    ours = "llmrouter.PackedAttention" if together else "llmrouter.Attention"
    assert kinds.count(ours) == 2
    assert kinds[-2:] == ["llmrouter.KeepRows", ".MatMul"]
    assert not {".ReduceSum", ".Shape", ".Slice", ".Neg"} & set(kinds)
    assert [value.name for value in graph.input] == ["input_ids"]
    assert [value.name for value in graph.output] == ["logits"]
    attributes = [
        {one.name: one.i for one in node.attribute if one.name != "scale"}
        for node in graph.node
        if node.op_type.endswith("Attention")
    ]
    assert attributes == [{"heads": 2, "layer": n, "interleaved": 0} for n in (0, 1)]


def test_a_graph_that_always_takes_the_last_token_is_told_which() -> None:
    graph = _graph()
    _node(graph, "Slice").input[1] = "last"
    assert pack_tokens(graph, NAMES)
    assert "llmrouter.KeepRows" in _kinds(graph)


def test_a_scale_that_is_left_out_is_the_usual_one() -> None:
    graph = _graph(scale=0.0)
    assert pack_tokens(graph, NAMES)
    [scale] = [one.f for one in graph.node[2].attribute if one.name == "scale"]
    assert scale == pytest.approx(8**-0.5)


@pytest.mark.parametrize(
    "attributes",
    [
        {"do_rotary": 0},
        {"local_window_size": 128},
        {"softcap": 30.0},
        {"smooth_softmax": 1},
        {"kv_num_heads": 2},
        {"num_heads": 0},
        {"k_quant_type": "PER_TENSOR"},
        {"unheard_of": 1},
    ],
)
def test_attention_that_is_computed_otherwise_is_left(attributes: dict[str, object]) -> None:
    graph = _graph(**attributes)
    before = graph.SerializeToString()
    assert not pack_tokens(graph, NAMES)
    assert graph.SerializeToString() == before


def _node(graph: Any, kind: str, number: int = 0) -> Any:
    return [node for node in graph.node if node.op_type == kind][number]


def _looks_at_the_mask(graph: Any) -> None:
    _node(graph, "Add").input[1] = "attention_mask"


def _mixes_tokens(graph: Any) -> None:
    _node(graph, "Add").op_type = "CumSum"


def _normalises_over_tokens(graph: Any) -> None:
    norm = _node(graph, "Add")
    norm.op_type = "LayerNormalization"
    norm.attribute.append(helper.make_attribute("axis", 1))


def _multiplies_tokens(graph: Any) -> None:
    _node(graph, "MatMul", 1).input[1] = "x0"


def _cuts_in_the_middle(graph: Any) -> None:
    _node(graph, "Add").op_type = "Slice"


def _rotates_by_an_input(graph: Any) -> None:
    graph.input.append(helper.make_tensor_value_info("cos", TensorProto.FLOAT, [1]))


def _biases_attention(graph: Any) -> None:
    _node(graph, "GroupQueryAttention").input.extend(["", "o"])


def _repeats_a_layer(graph: Any) -> None:
    attention = _node(graph, "GroupQueryAttention", 1)
    attention.input[3], attention.input[4] = "past.0.key", "past.0.value"


def _mixes_caches(graph: Any) -> None:
    _node(graph, "GroupQueryAttention", 1).input[4] = "past.0.value"


def _gathers_something_else(graph: Any) -> None:
    _node(graph, "Gather").input[1] = "attention_mask"


def _lacks_keys(graph: Any) -> None:
    _node(graph, "GroupQueryAttention").input[2] = "o"


def _scales_by_the_number_of_tokens(graph: Any) -> None:
    count = helper.make_node("Shape", ["x0"], ["count"])
    graph.node.insert(3, count)
    _node(graph, "Add").input[1] = "count"


def _cuts_from_elsewhere(graph: Any) -> None:
    _node(graph, "Slice").input[1] = "axis"


def _cuts_to_elsewhere(graph: Any) -> None:
    _node(graph, "Slice").input[2] = "early"


def _cuts_along_another_axis(graph: Any) -> None:
    _node(graph, "Slice").input[3] = "last"


def _cuts_in_steps(graph: Any) -> None:
    _node(graph, "Slice").input.append("axis")


def _cuts_by_a_constant_that_lies_about_its_size(graph: Any) -> None:
    [axis] = [one for one in graph.initializer if one.name == "axis"]
    axis.raw_data = b"12"


def _lacks_inputs(graph: Any) -> None:
    for node in graph.node:
        del node.input[:]


def _lacks_a_table(graph: Any) -> None:
    del _node(graph, "Gather").input[:]


@pytest.mark.parametrize(
    "change",
    [
        _scales_by_the_number_of_tokens, _cuts_from_elsewhere, _cuts_to_elsewhere,
        _cuts_along_another_axis, _cuts_in_steps, _cuts_by_a_constant_that_lies_about_its_size,
        _lacks_inputs, _lacks_a_table, _looks_at_the_mask, _mixes_tokens, _normalises_over_tokens,
        _multiplies_tokens,
        _cuts_in_the_middle, _rotates_by_an_input, _biases_attention, _repeats_a_layer,
        _mixes_caches, _gathers_something_else, _lacks_keys,
    ],
)  # fmt: skip
def test_a_graph_in_which_a_token_may_see_others_is_left_as_it_was(change: Change) -> None:
    graph = _graph()
    change(graph)
    before = graph.SerializeToString()
    assert not pack_tokens(graph, NAMES)
    assert graph.SerializeToString() == before


def test_heads_that_do_not_fill_registers_are_left() -> None:
    odd = DecoderTensors("input_ids", "logits", "past.%d.key", "past.%d.value", 2, 1, 12, 5)
    assert not pack_tokens(_graph(), odd)


def test_a_head_that_cannot_be_told_what_to_compute_is_left() -> None:
    graph = _graph(cut=False)
    graph.node[-1].op_type = "Add"
    assert not pack_tokens(graph, NAMES)
