"""Which operators a graph that others wrote may consist of.

All of them end: there are no loops. Those of a decoder are never as large as a number says; what
encoders as PyTorch exports them size so is counted as far as weights alone decide it, and so is all
that a graph makes of its weights (`graph_constants.py`). What it makes of a text and its weights
together is known only when it computes: it is refused more memory than its model counts for
(`workspace.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from onnx import AttributeProto

from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["REMEDY", "GraphKind", "check_operators", "tensors_of"]

REMEDY = "export the model without it, or import its weights instead"


class GraphKind(StrEnum):
    """What a graph is run as."""

    DECODER = "a decoder"
    ENCODER = "an encoder"


_ALLOWED = {
    "": frozenset({
        "Abs", "Add", "And", "Attention", "BitShift", "BitwiseAnd", "BitwiseOr", "Cast",
        "CastLike", "Ceil", "Clip", "Concat", "Constant", "Cos", "CumSum", "DequantizeLinear",
        "Div", "Dropout", "DynamicQuantizeLinear", "Equal", "Erf", "Exp", "Flatten",
        "Floor", "Gather", "GatherElements", "Gelu", "Gemm", "Greater", "GreaterOrEqual",
        "HardSigmoid", "HardSwish", "Identity", "If", "IsInf", "IsNaN", "LayerNormalization",
        "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "MatMulInteger", "Max",
        "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "QuantizeLinear", "RMSNormalization",
        "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        "ReduceSumSquare", "Relu", "Reshape", "RotaryEmbedding", "Round", "Shape", "Sigmoid",
        "Sign", "SimplifiedLayerNormalization", "Sin", "Size", "Slice", "Softmax", "Softplus",
        "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tanh", "TopK", "Transpose",
        "Trilu", "Unsqueeze", "Where",
    }),
    "com.microsoft": frozenset({
        "BiasGelu", "DequantizeLinear", "DynamicQuantizeMatMul", "FastGelu", "FusedGemm",
        "FusedMatMul", "GatherBlockQuantized", "Gelu", "GemmFastGelu", "GroupQueryAttention",
        "MatMulBnb4", "MatMulFpQ4", "MatMulIntegerToFloat", "MatMulNBits", "MoE", "QMoE",
        "QuantizeLinear", "QuickGelu", "RotaryEmbedding", "SimplifiedLayerNormalization",
        "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
    }),
}  # fmt: skip
_ENCODERS = {
    "": _ALLOWED[""] | {
        "ConstantOfShape", "Einsum", "Expand", "GatherND", "Mean", "Range", "ReduceL2", "ScatterND",
    },
    "com.microsoft": _ALLOWED["com.microsoft"] | {
        "Attention", "EmbedLayerNormalization", "MultiHeadAttention",
        "PackedAttention", "PackedMultiHeadAttention", "QAttention", "QEmbedLayerNormalization",
        "QLinearAdd", "QLinearMul", "RemovePadding", "RestorePadding",
    },
}  # fmt: skip
_CHOSEN = frozenset({"Constant", "Identity"})
"""What the two sides of an `If` may consist of: angles for short texts, and for long ones."""
_LONGEST = 40


def check_operators(file: Path, model: Any, kind: GraphKind) -> None:
    """Check every operator of a graph.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the first one that is not supported.
    """
    if model.functions:
        name = str(model.functions[0].name)[:_LONGEST]
        raise broken_file(file, f"has the function {name!a} of its own", REMEDY)
    allowed = _ALLOWED if kind is GraphKind.DECODER else _ENCODERS
    for node in model.graph.node:
        domain = "" if node.domain == "ai.onnx" else str(node.domain)
        if str(node.op_type) not in allowed.get(domain, ()):
            raise broken_file(
                file, f"has {_told(node)}, which is not supported in {kind.value}", REMEDY
            )
        for graph in _graphs(node):
            if any(inner.op_type not in _CHOSEN or any(_graphs(inner)) for inner in graph.node):
                raise broken_file(
                    file, f"has {_told(node)}, that computes; it may only choose", REMEDY
                )
    for graph in _all_graphs(model.graph):
        if graph.sparse_initializer or any(map(_is_sparse, graph.node)):
            raise broken_file(file, "has sparse tensors, which are not supported", REMEDY)


def tensors_of(graph: Any) -> Iterator[Any]:
    """Return every tensor that is stored in a graph whose operators were checked."""
    for one in _all_graphs(graph):
        yield from one.initializer
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _all_graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        yield from _graphs(node)


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _is_sparse(node: Any) -> bool:
    return any(
        one.HasField("sparse_tensor")
        or one.sparse_tensors
        or one.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS)
        for one in node.attribute
    )


def _told(node: Any) -> str:
    return f"{str(node.name)[: _LONGEST * 2]!a}, the operator {str(node.op_type)[:_LONGEST]!a}"
