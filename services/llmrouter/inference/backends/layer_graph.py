"""Lets operators of our own stand for what lies between the products of a layer.

ONNX Runtime spends several times the arithmetic on handing such small work to threads.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from onnx import AttributeProto, helper

__all__ = ["fuse_layers"]

_CONTRIB = "com.microsoft"
_DOMAIN = "llmrouter"
_PRODUCTS = frozenset({"MatMul", "MatMulNBits"})
"""What these give has a shape of tokens by columns: nothing is stretched to fit."""


def fuse_layers(graph: Any) -> None:
    """Replace sums with their norms, and gates by SiLU, in `graph`."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    products = {name for node in graph.node if node.op_type in _PRODUCTS for name in node.output}
    gates = {
        node.output[0]: node
        for node in graph.node
        if _is_silu(node) and node.input[0] in products and uses[node.output[0]] == 1
    }
    nodes = [_add_norm(node) or _gate(node, gates, products) or node for node in graph.node]
    used = {name for node in nodes for name in node.input}
    idle = {id(gate) for name, gate in gates.items() if name not in used}
    kept = [node for node in nodes if id(node) not in idle]
    del graph.node[:]
    graph.node.extend(kept)


def _add_norm(node: Any) -> Any | None:
    """Return our operator for a SkipSimplifiedLayerNormalization without a bias."""
    if (node.domain, node.op_type) != (_CONTRIB, "SkipSimplifiedLayerNormalization"):
        return None
    inputs, outputs = list(node.input), [*node.output, "", "", ""]
    epsilons = [one.f for one in node.attribute if one.name == "epsilon"]
    usual = len(node.attribute) == len(epsilons) <= 1 and len(inputs) == 3 and all(inputs)
    if not usual or outputs[1] or outputs[2] or any(outputs[4:]) or not outputs[0]:
        return None
    total = outputs[3] or f"{outputs[0]}.sum"
    return helper.make_node(
        "AddNorm", inputs, [outputs[0], total], domain=_DOMAIN, name=node.name,
        epsilon=float(epsilons[0] if epsilons else 1e-12),
    )  # fmt: skip


def _is_silu(node: Any) -> bool:
    if (node.domain, node.op_type) != (_CONTRIB, "QuickGelu") or len(node.output) != 1:
        return False
    values = {one.name: one.f for one in node.attribute if one.type == AttributeProto.FLOAT}
    return len(node.input) == 1 and values == {"alpha": 1.0}


def _gate(node: Any, gates: dict[str, Any], products: set[str]) -> Any | None:
    """Return our operator for a matrix product times the SiLU of another."""
    if (node.domain, node.op_type) != ("", "Mul") or len(node.input) != 2:
        return None
    first, second = node.input
    if second in gates:
        first, second = second, first
    if first not in gates or second not in products:
        return None
    inputs = [gates[first].input[0], second]
    return helper.make_node("GateBySilu", inputs, list(node.output), domain=_DOMAIN, name=node.name)
