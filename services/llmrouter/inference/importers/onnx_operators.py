"""Which operators a graph that others wrote may consist of.

All of them end, and make no more of their inputs than these and the weights account for: there are
no loops, and none whose result is as large as a number in the file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import AttributeProto

from llmrouter.inference.importers.refusal import bad_file

__all__ = ["check_operators", "tensors_of"]

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
_ALLOWED["ai.onnx"] = _ALLOWED[""]
_CHOSEN = frozenset({"Constant", "Identity"})
"""What the two sides of an `If` may consist of: angles for short texts, and for long ones."""
_LONGEST = 40


def check_operators(file: Path, model: Any) -> None:
    """Check every operator of a graph.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the first one that is not supported.
    """
    if model.functions:
        name = str(model.functions[0].name)[:_LONGEST]
        raise bad_file(file, f"has the function {name!a} of its own; export the model with none")
    for node in model.graph.node:
        if str(node.op_type) not in _ALLOWED.get(str(node.domain), ()):
            raise bad_file(file, f"has {_told(node)}, which is not supported in a decoder")
        for graph in _graphs(node):
            if any(inner.op_type not in _CHOSEN or any(_graphs(inner)) for inner in graph.node):
                raise bad_file(file, f"has {_told(node)}, that computes; it may only choose")
    for graph in _all_graphs(model.graph):
        if graph.sparse_initializer or any(map(_is_sparse, graph.node)):
            raise bad_file(file, "has sparse tensors, which are not supported; store them whole")


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
