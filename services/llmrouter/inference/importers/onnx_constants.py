"""How much a graph computes from its weights alone: all of it is made, and kept, while it loads.

Two short vectors make a matrix. So what each step can make at worst is counted before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from llmrouter.inference.importers.onnx_operators import tensors_of
from llmrouter.inference.importers.refusal import bad_file

__all__ = ["check_constants"]

_FREE = 1 << 24
"""Values that any graph may compute from its weights."""
_PER_STORED = 4
"""Values for each one that it stores: weights cast, turned and taken out of their blocks."""
_FEW = 64
"""More values than a shape has."""
_WRITTEN = frozenset({"Constant", "If"})
_SHAPES = frozenset({"Shape", "Size"})
_KEEPING = frozenset({
    "CastLike", "Clip", "Concat", "CumSum", "DequantizeLinear", "GatherElements", "QuantizeLinear",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Reshape",
    "Slice", "Split", "Squeeze", "TopK", "Trilu", "Unsqueeze",
})  # fmt: skip
"""Of several inputs, these make no more than there is in all of them together."""
_MATCHING = frozenset({
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min",
    "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where",
})  # fmt: skip
"""These stretch their inputs to one shape."""


_Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """A value that does not depend on what is fed."""

    size: int
    shape: _Shape | None = None
    """Known of what is stored; that of what is computed is not followed."""


def check_constants(file: Path, graph: Any) -> None:
    """Check what a graph makes of its weights alone; its operators were checked before.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the operator by which it is too much.
    """
    known = {str(one.name): _stored(one) for one in graph.initializer}
    most = max(_FREE, _PER_STORED * sum(one.size for one in known.values()))
    total = 0
    for node in graph.node:
        inputs = [str(name) for name in node.input if name]
        if any(name not in known for name in inputs):
            continue  # of what is fed
        made = _made(node, [known[name] for name in inputs])
        total += made.size
        if total > most:
            raise bad_file(
                file,
                f"makes {total} values of its weights alone by {str(node.name)[:80]!a}, the "
                f"operator {str(node.op_type)[:40]!a}; at most {most}",
            )
        known |= dict.fromkeys(map(str, node.output), made)


def _made(node: Any, inputs: list[_Made]) -> _Made:
    """Return what a step makes of its inputs, at most."""
    if node.op_type in _SHAPES:
        return _Made(_FEW)
    if node.op_type in _WRITTEN:
        return _written(node)
    if len(inputs) == 1 or node.op_type in _KEEPING:
        return _Made(sum(one.size for one in inputs))
    every = math.prod(one.size for one in inputs)
    shapes = [one.shape for one in inputs if one.shape is not None]
    if node.op_type in _MATCHING and len(shapes) == len(inputs):
        turned = (reversed(shape) for shape in shapes)
        return _Made(min(every, math.prod(map(max, zip_longest(*turned, fillvalue=1)))))
    return _Made(every)


def _written(node: Any) -> _Made:
    """Return what is written in a step itself, or in what it chooses from."""
    tensors = [one.t for one in node.attribute if one.HasField("t")]
    inner = [tensor for one in node.attribute for tensor in tensors_of(one.g)]
    lists = sum(len(one.floats) + len(one.ints) + 1 for one in node.attribute)
    if len(tensors) == 1 and not inner:
        return _stored(tensors[0])
    return _Made(sum(_stored(one).size for one in inner + tensors) + lists)


def _stored(tensor: Any) -> _Made:
    shape = tuple(max(1, int(one)) for one in tensor.dims)
    return _Made(math.prod(shape), shape)
