"""Hands a graph to operators of our own, in memory: the file stays as it is.

Its tokens may be packed (`packed_graph.py`), its matrices multiplied by our own kernels: a node
MatMulNBits becomes `llmrouter.MatMulNBits`, which reads its weights from the external data file
itself; the graph forgets them, so that they are held once. Models are untrusted: whatever is
unusual about a node leaves it to ONNX Runtime.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import AttributeProto, TensorProto, helper

from llmrouter.common.errors import RouterError
from llmrouter.inference.backends.layer_graph import fuse_layers
from llmrouter.inference.backends.packed_graph import DecoderTensors, pack_tokens
from llmrouter.inference.models.graph_check import load_graph
from llmrouter.inference.models.untrusted_json import inside

__all__ = ["MatrixPlace", "NativeGraph", "read_graph", "rewrite_graph"]

_MAX_GRAPH_BYTES = 64 * 2**20
"""A larger file holds its weights itself, and those are left to ONNX Runtime."""
_CONTRIB = "com.microsoft"
_DOMAIN = "llmrouter"
_OPERATOR = "MatMulNBits"
_PRODUCTS = frozenset({_OPERATOR, "MatMul", "Gemm"})
_BLOCK = 32
_BITS = (4, 8)
_SCALE_BYTES = 4
_FIXED = {"block_size": _BLOCK, "accuracy_level": 4}
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class MatrixPlace:
    """Where a matrix [depth, columns] lies in a file; offsets in bytes."""

    file: Path
    columns: int
    depth: int
    bits: int
    data_offset: int
    scales_offset: int
    zero_points_offset: int | None
    """None for zero points in the middle of the range."""

    @property
    def size_bytes(self) -> int:
        """Of its levels, scales and zero points."""
        values = self.columns * self.depth
        zero_points = 0 if self.zero_points_offset is None else values // _BLOCK * self.bits // 8
        return values * self.bits // 8 + values // _BLOCK * _SCALE_BYTES + zero_points


@dataclass(frozen=True, slots=True)
class NativeGraph:
    """A graph in which operators of our own stand for what they can replace."""

    graph: bytes
    """A serialised ModelProto without the weights that only our operators need."""
    matrices: tuple[MatrixPlace, ...]
    """What the attribute `matrix` of our MatMulNBits counts."""
    packed: bool
    """Whether it takes the tokens of many sequences side by side."""
    rounds_alike: bool
    """Whether a token is then rounded as if it were alone: all its products are ours."""
    quantised: bool
    """Whether it has quantised matrices."""


def rewrite_graph(file: Path, *, multiply: bool, pack: DecoderTensors | None) -> NativeGraph | None:
    """Return the graph in `file` with our operators in it.

    Args:
        file: The model.
        multiply: Whether our kernels multiply.
        pack: Its tensors, where its tokens are to be packed.

    Returns:
        None where nothing can be replaced, and for files that are broken or unusual: these are
        ONNX Runtime's to run or to refuse.
    """
    model = read_graph(file)
    if model is None or not _usual(model):
        return None
    matrices = _replace_products(model.graph, file.parent) if multiply else []
    packed = pack is not None and pack_tokens(model.graph, pack)
    if packed:
        fuse_layers(model.graph)
    if not matrices and not packed:
        return None
    _forget_unused(model.graph)
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    ours = all(node.domain == _DOMAIN for node in model.graph.node if node.op_type in _PRODUCTS)
    quantised = any(node.op_type == _OPERATOR for node in model.graph.node)
    graph = model.SerializeToString()
    return NativeGraph(graph, tuple(matrices), packed, packed and ours, quantised)


def read_graph(file: Path) -> Any:
    """Return the model in `file` without external data; None for one that is broken or large."""
    try:
        return None if file.stat().st_size > _MAX_GRAPH_BYTES else load_graph(file)
    except (OSError, RouterError):
        return None


def _usual(model: Any) -> bool:
    """Whether all uses of a weight are in plain sight and our domain is not taken."""
    if model.functions or any(opset.domain == _DOMAIN for opset in model.opset_import):
        return False
    inner = {AttributeProto.GRAPH, AttributeProto.GRAPHS}
    return not any(
        node.domain == _DOMAIN or any(attribute.type in inner for attribute in node.attribute)
        for node in model.graph.node
    )


class _Weights:
    """The constant initializers of a graph that lie in external files."""

    def __init__(self, graph: Any, folder: Path) -> None:
        self._folder = folder
        count = Counter(tensor.name for tensor in graph.initializer)
        fed = {value.name for value in graph.input}
        self._tensors = {
            tensor.name: tensor
            for tensor in graph.initializer
            if tensor.data_location == TensorProto.EXTERNAL
            and count[tensor.name] == 1
            and tensor.name not in fed
        }

    def place(self, name: str, kind: int, size: int) -> tuple[Path, int] | None:
        """Return file and offset of a tensor of this type and size in bytes, None if it is not."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != kind:
            return None
        entries = {entry.key: entry.value for entry in tensor.external_data}
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries["length"])
            file = self._file(entries["location"])
            if length != size or not 0 <= offset <= file.stat().st_size - length:
                return None
        except (KeyError, ValueError, OSError, RouterError):
            return None
        return file, offset

    def _file(self, location: str) -> Path:
        if Path(location).name != location:
            raise ValueError("weights lie beside their graph")
        return inside(self._folder, location, "")

    def holds(self, name: str, elements: int) -> bool:
        """Whether the tensor's shape has this many elements."""
        product = 1
        for dimension in self._tensors[name].dims:
            product *= dimension
        return product == elements


def _replace_products(graph: Any, folder: Path) -> list[MatrixPlace]:
    """Turn into our operator what our kernels multiply; return their matrices in its numbers."""
    weights = _Weights(graph, folder)
    matrices: list[MatrixPlace] = []
    for node in graph.node:
        place = _matrix_of(node, weights)
        if place is None:
            continue
        node.domain = _DOMAIN
        del node.input[1:]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("matrix", len(matrices)))
        matrices.append(place)
    return matrices


def _matrix_of(node: Any, weights: _Weights) -> MatrixPlace | None:
    if (node.op_type, node.domain) != (_OPERATOR, _CONTRIB) or len(node.output) != 1:
        return None
    sizes = _sizes(node)
    if sizes is None:
        return None
    columns, depth, bits = sizes
    blocks = depth // _BLOCK
    data_bytes, zero_bytes = columns * depth * bits // 8, columns * -(-blocks * bits // 8)
    inputs = [*node.input, *[""] * 6]
    data = weights.place(inputs[1], TensorProto.UINT8, data_bytes)
    scales = weights.place(inputs[2], TensorProto.FLOAT, columns * blocks * 4)
    zeros = weights.place(inputs[3], TensorProto.UINT8, zero_bytes) if inputs[3] else None
    if data is None or scales is None or (zeros is None and inputs[3]) or any(inputs[4:]):
        return None
    counts = [(inputs[1], data_bytes), (inputs[2], columns * blocks)]
    counts += [(inputs[3], zero_bytes)] if inputs[3] else []
    one_file = len({place[0] for place in (data, scales, zeros) if place}) == 1
    if not one_file or not all(weights.holds(name, count) for name, count in counts):
        return None
    zero_points_offset = zeros[1] if zeros else None
    return MatrixPlace(data[0], columns, depth, bits, data[1], scales[1], zero_points_offset)


def _sizes(node: Any) -> tuple[int, int, int] | None:
    """Return columns, depth and bits of a matrix of the form our kernels know."""
    values = {
        attribute.name: int(attribute.i) if attribute.type == AttributeProto.INT else -1
        for attribute in node.attribute
    }
    if values.keys() != {"N", "K", "bits", *_FIXED}:
        return None
    columns, depth, bits = values["N"], values["K"], values["bits"]
    fits = (
        all(values[name] == value for name, value in _FIXED.items())
        and bits in _BITS
        and 0 < columns <= _MOST
        and 0 < depth <= _MOST
        and depth % _BLOCK == 0
    )
    return (columns, depth, bits) if fits else None


def _forget_unused(graph: Any) -> None:
    """Drop the initializers that nothing refers to any more."""
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
