"""What lies between products becomes ours where it is exactly what our operators compute."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto, helper

from llmrouter.inference.backends.layer_graph import fuse_layers

CONTRIB = "com.microsoft"


def _changes(graph: Any) -> bool:
    before = graph.SerializeToString()
    fuse_layers(graph)
    return bool(graph.SerializeToString() != before)


def _graph(*nodes: Any) -> Any:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "part", [], [output])


def _gated(alpha: float = 1.0, factors: tuple[str, str] = ("silu", "up"), kind: str = "Mul") -> Any:
    node = helper.make_node
    return _graph(
        node("MatMul", ["x", "a"], ["gate"]),
        node("MatMul", ["x", "b"], ["up"]),
        node("QuickGelu", ["gate"], ["silu"], domain=CONTRIB, alpha=alpha),
        node(kind, list(factors), ["y"]),
    )


def _normed(inputs: tuple[str, ...], outputs: tuple[str, ...], **attributes: object) -> Any:
    kind = "SkipSimplifiedLayerNormalization"
    return _graph(helper.make_node(kind, inputs, outputs, domain=CONTRIB, **attributes))


@pytest.mark.parametrize("factors", [("silu", "up"), ("up", "silu")])
def test_a_gate_by_silu_is_one_operator(factors: tuple[str, str]) -> None:
    graph = _gated(factors=factors)
    assert _changes(graph)
    assert [node.op_type for node in graph.node] == ["MatMul", "MatMul", "GateBySilu"]
    assert list(graph.node[-1].input) == ["gate", "up"]
    assert list(graph.node[-1].output) == ["y"]


@pytest.mark.parametrize(
    "graph",
    [
        _gated(alpha=1.702),
        _gated(factors=("silu", "x")),
        _gated(factors=("silu", "silu")),
        _gated(kind="Add"),
    ],
)
def test_another_gate_is_left(graph: Any) -> None:
    assert not _changes(graph)


def test_a_silu_that_somebody_else_uses_is_left() -> None:
    graph = _gated()
    graph.node.append(helper.make_node("Add", ["silu", "up"], ["z"]))
    assert not _changes(graph)


@pytest.mark.parametrize(
    ("outputs", "ours"),
    [(("y", "", "", "sum"), ["y", "sum"]), (("y",), ["y", "y.sum"])],
)
def test_a_sum_and_its_norm_are_one_operator(outputs: tuple[str, ...], ours: list[str]) -> None:
    graph = _normed(("a", "b", "gain"), outputs, epsilon=1e-5)
    assert _changes(graph)
    [node] = graph.node
    assert (node.domain, node.op_type, list(node.output)) == ("llmrouter", "AddNorm", ours)
    assert node.attribute[0].f == pytest.approx(1e-5)


@pytest.mark.parametrize(
    "graph",
    [
        _normed(("a", "b", "gain", "bias"), ("y", "", "", "sum")),
        _normed(("a", "b"), ("y",)),
        _normed(("a", "b", "gain"), ("y", "mean", "", "sum")),
        _normed(("a", "b", "gain"), ("y",), unheard_of=1),
    ],
)
def test_another_norm_is_left(graph: Any) -> None:
    assert not _changes(graph)
