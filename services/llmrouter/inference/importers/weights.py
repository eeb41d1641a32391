"""Writing initialisers to the external data file of an ONNX model, one tensor at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

__all__ = ["WeightFile"]

# A page, so that ONNX Runtime can map each tensor straight from the file.
_ALIGNMENT = 4096


class WeightFile:
    """Appends arrays to `model.onnx.data` and remembers the initialisers that point into it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.initializers: list[TensorProto] = []

    def add(self, name: str, array: np.ndarray[Any, Any]) -> str:
        """Write `array` and return `name`."""
        offset = -(-self._file.tell() // _ALIGNMENT) * _ALIGNMENT
        self._file.seek(offset)
        contiguous = np.ascontiguousarray(array)
        self._file.write(contiguous.tobytes())
        self._point(name, contiguous.dtype, contiguous.shape, offset, contiguous.nbytes)
        return name

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
