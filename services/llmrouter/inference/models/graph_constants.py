"""How much a graph computes from its weights alone: all of it is made, and kept, while it loads.

Two short vectors make a matrix. So what each step can make at worst is counted before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from onnx import TensorProto, numpy_helper

from llmrouter.inference.models.graph_operators import REMEDY, tensors_of
from llmrouter.inference.models.untrusted_json import broken_file, inside

__all__ = ["check_constants"]

_FREE = 1 << 24
"""Values that any graph may compute from its weights."""
_PER_STORED = 4
"""Values for each one that it stores: weights cast, turned and taken out of their blocks."""
_FEW = 64
"""More values than a shape has."""
_BLOCK = 512
"""Bytes of what `st_blocks` counts, whatever the disk."""
_INLINE = 1 << 16
"""Of a small file some disks count no blocks."""
_BEYOND = 1 << 62
"""Of what is as large as a number says that is itself computed."""
_MAX_DIMENSIONS = 8
"""Of a tensor that is stored; weights have five at most."""
_SIZED = frozenset({"ConstantOfShape", "Expand", "Range"})
_WRITTEN = frozenset({"Constant", "If"})
_SHAPES = frozenset({"Shape", "Size"})
_KEEPING = frozenset({
    "CastLike", "Clip", "Concat", "CumSum", "DequantizeLinear", "GatherElements", "QuantizeLinear",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Reshape",
    "Slice", "Split", "Squeeze", "TopK", "Trilu", "Unsqueeze",
})  # fmt: skip
"""Of several inputs, these make no more than there is in all of them together."""
_ALIKE = frozenset({"Abs", "Cast", "Identity", "Neg", "Not", "Reciprocal", "Sqrt"})
"""Of one input these make as much, of the same shape."""
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
    """Known of what is stored, and as long as steps take it element by element."""
    values: tuple[float, ...] | None = None
    """Known of a few numbers that are stored."""


def check_constants(file: Path, graph: Any) -> None:
    """Check what a graph makes of its weights alone; its operators were checked before.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the operator by which it is too much, or a tensor of
            more dimensions than weights have.
    """
    _check_dimensions(file, graph)
    known = {str(one.name): _stored(one) for one in graph.initializer}
    fed = {str(one.name) for one in graph.input} - set(known)
    # Sizes are what the file says: it may say more than there is.
    stored = min(sum(one.size for one in known.values()), _bytes_of(file, graph))
    most = max(_FREE, _PER_STORED * stored)
    total = 0
    for node in graph.node:
        inputs = _inputs(node)
        unknown = [name for name in inputs if name not in known]
        if not fed.issuperset(unknown):
            name = str(node.name)[:80]
            problem = f"computes {name!a} before its inputs, or of none that there is"
            raise broken_file(file, problem, "export the model with its steps in order")
        if unknown:
            fed |= set(map(str, node.output))
            continue
        made = _made(node, [known[name] for name in inputs])
        total += made.size
        if total > most:
            told = f"makes {total} values" if total < _BEYOND else "makes no known number of values"
            problem = (
                f"{told} of its weights alone by {str(node.name)[:80]!a}, the operator "
                f"{str(node.op_type)[:40]!a}; at most {most}"
            )
            raise broken_file(file, problem, REMEDY)
        known |= dict.fromkeys(map(str, node.output), made)


def _check_dimensions(file: Path, graph: Any) -> None:
    """Check how many dimensions tensors have, before their sizes are multiplied.

    The product of many is a number of megabytes, and takes longer than the model to load.
    """
    for tensor in tensors_of(graph):
        if len(tensor.dims) > _MAX_DIMENSIONS:
            problem = (
                f"gives the tensor {str(tensor.name)[:80]!a} {len(tensor.dims)} dimensions; "
                f"at most {_MAX_DIMENSIONS}"
            )
            raise broken_file(file, problem, REMEDY)


def _product(sizes: Iterable[int]) -> int:
    """Return the product, no more than `_BEYOND`: of many it would fill memory itself."""
    product = 1
    for size in sizes:
        product = min(_BEYOND, product * size)
    return product


def _bytes_of(file: Path, graph: Any) -> int:
    """Return the bytes of the graph and of the files beside it that its weights are said to be."""
    places = {
        str(entry.value)
        for tensor in tensors_of(graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = [file, *(inside(file.parent, place, REMEDY) for place in places)]
    return sum(_kept_bytes(one) for one in files)


def _kept_bytes(file: Path) -> int:
    """Return the bytes that a disk keeps of a file: of one with holes fewer than its size."""
    told = file.stat()
    return min(told.st_size, told.st_blocks * _BLOCK + _INLINE)


def _inputs(node: Any) -> list[str]:
    """Return what a step takes, and what the sides of a choice take from outside."""
    names = [str(name) for name in node.input if name]
    for attribute in node.attribute:
        inner = {str(name) for one in attribute.g.node for name in one.output}
        inner |= {str(one.name) for one in attribute.g.initializer}
        taken = [str(name) for one in attribute.g.node for name in one.input if name]
        taken += [str(one.name) for one in attribute.g.output]
        names += [name for name in taken if name not in inner]
    return names


def _made(node: Any, inputs: list[_Made]) -> _Made:
    """Return what a step makes of its inputs, at most."""
    kind = str(node.op_type)
    if kind in _SHAPES:
        return _Made(_FEW)
    if kind in _WRITTEN:
        written = _written(node)
        return _Made(written.size + sum(one.size for one in inputs), written.shape, written.values)
    return _sized(kind, inputs) if kind in _SIZED else _joined(kind, inputs)


def _joined(kind: str, inputs: list[_Made]) -> _Made:
    """Return what a step makes whose result is as large as its inputs let it be."""
    if len(inputs) == 1 or kind in _KEEPING:
        kept = inputs[0].shape if kind in _ALIKE and inputs else None
        return _Made(sum(one.size for one in inputs), kept)
    shapes = [one.shape for one in inputs if one.shape is not None]
    if kind in _MATCHING and len(shapes) == len(inputs):
        turned = (reversed(shape) for shape in shapes)
        shape = tuple(map(max, zip_longest(*turned, fillvalue=1)))[::-1]
        return _Made(_product(shape), shape)
    return _Made(_product(one.size for one in inputs))


def _sized(kind: str, inputs: list[_Made]) -> _Made:
    """Return what a step makes whose result is as large as its last input, or a range, says."""
    numbers = [one.values for one in inputs]
    if kind == "Range":
        if len(numbers) != 3 or any(one is None or len(one) != 1 for one in numbers):
            return _Made(_BEYOND)
        start, end, step = (one[0] for one in numbers if one)
        return _Made(int(min(_BEYOND, max(0.0, (end - start) / step))) if step else _BEYOND)
    shape = numbers[-1] if numbers else None
    if shape is None:
        return _Made(_BEYOND)
    wanted = _product(max(1, int(one)) for one in shape)
    return _Made(_product((wanted, inputs[0].size if kind == "Expand" else 1)))


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
    return _Made(_product(shape), shape, _few_values(tensor))


def _few_values(tensor: Any) -> tuple[float, ...] | None:
    """Return the numbers of a small tensor in the file itself; None of any other."""
    if tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > _FEW:
        return None
    try:
        values = numpy_helper.to_array(tensor).ravel().tolist()
    except Exception:  # noqa: BLE001 - the library raises many kinds for what is broken
        return None
    numbers = [one for one in values if isinstance(one, int | float) and math.isfinite(one)]
    return tuple(numbers) if len(numbers) == len(values) else None
