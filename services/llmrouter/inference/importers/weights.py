"""Writing initialisers to the external data file of an ONNX model, piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto

__all__ = ["Region", "WeightFile"]

# A page, so that ONNX Runtime can map each tensor straight from the file.
_ALIGNMENT = 4096


class Region:
    """The place of one tensor in the file, filled from its first row to its last."""

    def __init__(self, file: WeightFile, offset: int, dtype: DTypeLike) -> None:
        self._file, self._at, self._dtype = file, offset, dtype

    def append(self, rows: NDArray[Any]) -> None:
        """Write the next rows."""
        self._at += self._file.write_at(self._at, rows.astype(self._dtype, copy=False))


class WeightFile:
    """Fills `model.onnx.data` and remembers the initialisers that point into it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._end = 0
        self.initializers: list[TensorProto] = []

    def add(self, name: str, array: NDArray[Any]) -> str:
        """Write `array` and return `name`."""
        self.reserve(name, array.dtype, array.shape).append(array)
        return name

    def reserve(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Region:
        """Give the tensor `name` its place, to be filled by the caller."""
        kind = np.dtype(dtype)
        offset = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        length = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        self._end = offset + length
        self._point(name, kind, shape, offset, length)
        return Region(self, offset, kind)

    def write_at(self, offset: int, array: NDArray[Any]) -> int:
        """Write `array` at `offset` and return its bytes."""
        self._file.seek(offset)
        contiguous = np.ascontiguousarray(array)
        self._file.write(contiguous.data.cast("B") if contiguous.size else b"")
        return contiguous.nbytes

    def share(self, name: str, other: str, shape: tuple[int, ...]) -> str:
        """Let `name` be the bytes of `other` under another shape."""
        original = next(item for item in self.initializers if item.name == other)
        place = {entry.key: entry.value for entry in original.external_data}
        dtype = onnx.helper.tensor_dtype_to_np_dtype(original.data_type)
        self._point(name, dtype, shape, int(place["offset"]), int(place["length"]))
        return name

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _point(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, length: int
    ) -> None:
        tensor = TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(dtype),
            dims=shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", self._path.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
