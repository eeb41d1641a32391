"""The tensors of a GGUF file, read in pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, dequantize
from numpy.typing import NDArray

from llmrouter.inference.importers.architecture import Architecture, needed_tensors
from llmrouter.inference.importers.gguf_header import GgufTensor
from llmrouter.inference.importers.places import Place, first_row, stored_shapes
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.tensors import Blocks, Floats

__all__ = ["GgufTensors"]

_TYPES = (
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K",
)  # fmt: skip
_EXACT = {
    GGMLQuantizationType.Q4_0: 4,
    GGMLQuantizationType.Q5_0: 5,
    GGMLQuantizationType.Q8_0: 8,
}
"""Types of 32 levels to a scale and nothing else, with the bits of a level."""
_UNUSED = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
"""Read with the header."""


class GgufTensors:
    """The weights of one checked file; see `Tensors` for the contract."""

    def __init__(self, path: Path, tensors: Mapping[str, GgufTensor]) -> None:
        self._path, self._tensors = path, tensors
        self._places: dict[str, Place] = {}

    @property
    def names(self) -> frozenset[str]:
        """Of all tensors in the file."""
        return frozenset(self._tensors)

    def check(self, model: Architecture) -> None:
        """Check that every tensor of `model` is there, in shape and of a known type.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the tensor that is wrong.
        """
        fused = "blk.0.attn_qkv.weight" in self._tensors

        self._places = {
            name: _place(model, name) if fused else Place(name) for name in needed_tensors(model)
        }
        shapes = stored_shapes(model, self._places)
        for name, shape in shapes.items():
            self._check_tensor(name, shape)
        extra = sorted(self.names - set(shapes) - _UNUSED)
        if extra:
            raise bad_file(self._path, f"has the tensor '{extra[0]}', which is not supported")

    def length(self, name: str) -> int:
        """Return how many numbers a tensor has."""
        return math.prod(self._tensors[name].shape)

    def vector(self, name: str) -> Floats:
        """Return a whole vector, whether of the model or beside it."""
        self._check_type(name)
        kind, stored = self._bytes(name, 0, 1, 1)
        return self._numbers(name, 0, np.asarray(dequantize(stored[0], kind), np.float32))

    def rows(self, name: str, start: int, stop: int) -> Floats:
        """Return some rows of a matrix [out, in]."""
        kind, stored = self._stored(name, start, stop)
        values = np.asarray(dequantize(stored, kind), dtype=np.float32)
        return self._numbers(name, start, values)

    def blocks(self, name: str, start: int, stop: int) -> Blocks | None:
        """Return some rows as they are stored; None for types of more than levels and scales."""
        if self._tensors[self._places[name].stored].kind not in _EXACT:
            return None
        kind, stored = self._stored(name, start, stop)
        found = _blocks(kind, stored)
        self._numbers(name, start, found.scales)
        return found

    def _numbers(self, name: str, start: int, values: Floats) -> Floats:
        """Return values, which are those of a tensor's rows from `start` on, if all are numbers."""
        if np.isfinite(values).all():
            return values
        where = self._places.get(name, Place(name))
        tensor = self._tensors[where.stored]
        rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
        bad = start + int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        row = where.first_row + bad if rows > 1 else 0
        at = tensor.offset + row * (tensor.length // rows)
        raise bad_file(
            self._path, f"holds things in '{name}' that are no numbers, from byte {at} on"
        )

    def _stored(
        self, name: str, start: int, stop: int
    ) -> tuple[GGMLQuantizationType, NDArray[np.uint8]]:
        where, shape = self._places[name], self._tensors[self._places[name].stored].shape
        begin = where.first_row
        return self._bytes(where.stored, begin + start, begin + stop, shape[0])

    def _bytes(
        self, stored: str, start: int, stop: int, rows: int
    ) -> tuple[GGMLQuantizationType, NDArray[np.uint8]]:
        """Read some of a tensor's rows: reading, other than mapping, keeps nothing in memory."""
        tensor = self._tensors[stored]
        width = tensor.length // rows
        count = (stop - start) * width
        found = np.fromfile(self._path, np.uint8, count, offset=tensor.offset + start * width)
        if len(found) != count:
            raise bad_file(
                self._path,
                f"ends within '{stored}' behind byte {tensor.offset}; it was changed meanwhile",
            )
        return tensor.kind, found.reshape(-1, width)

    def _check_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise bad_file(self._path, f"lacks the tensor '{name}'")
        if tensor.shape != shape:
            problem = f"gives '{name}' the shape {tensor.shape} at byte {tensor.offset}"
            problem += f"; {shape} is needed"
            raise bad_file(self._path, problem)
        self._check_type(name)

    def _check_type(self, name: str) -> None:
        tensor = self._tensors[name]
        if tensor.kind.name not in _TYPES:
            raise bad_file(
                self._path,
                f"stores '{name}' as {tensor.kind.name} at byte {tensor.offset}; supported are "
                f"{', '.join(_TYPES)}",
            )


def _place(model: Architecture, name: str) -> Place:
    """Return where a file keeps a tensor that joins q, k and v, and gate and up."""
    pieces = name.split(".")
    part = pieces[2] if len(pieces) == 4 else ""
    joined = {"ffn_gate": "ffn_up"} | {f"attn_{one}": "attn_qkv" for one in "qkv"}
    if part not in {*joined, "ffn_up"}:
        return Place(name)
    stored = ".".join([*pieces[:2], joined.get(part, part), pieces[3]])
    return Place(stored, first_row(model, part))


def _blocks(kind: GGMLQuantizationType, stored: NDArray[np.uint8]) -> Blocks:
    """Take the levels and scales out of rows of a symmetric type, whose blocks begin with a scale.

    Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.
    """
    rows, size = len(stored), {4: 18, 5: 22, 8: 34}[_EXACT[kind]]
    blocks = stored.reshape(rows, -1, size)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    if kind is GGMLQuantizationType.Q8_0:
        return Blocks(np.ascontiguousarray(blocks[..., 2:]).view(np.int8), scales, 8)
    halves = blocks[..., size - 16 :]
    levels = np.concatenate([halves & np.uint8(15), halves >> np.uint8(4)], axis=-1)
    if kind is GGMLQuantizationType.Q4_0:
        return Blocks(levels.view(np.int8) - np.int8(8), scales, 4)
    high = np.unpackbits(np.ascontiguousarray(blocks[..., 2:6]), axis=-1, bitorder="little")
    return Blocks((levels | high << np.uint8(4)).view(np.int8) - np.int8(16), scales, 5)
