"""Writing initialisers to the external data file of an ONNX model, piece by piece."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto

from llmrouter.inference.importers.journal import Journal, Written
from llmrouter.inference.models.partials import open_unlinked

__all__ = ["Region", "WeightFile", "WeightPlan"]

# A page, so that ONNX Runtime can map each tensor straight from the file.
_ALIGNMENT = 4096


class Region:
    """The place of one tensor in the file, filled from its first row to its last."""

    def __init__(
        self, file: WeightFile, place: Written, dtype: DTypeLike, *, before: int, whole: bool
    ) -> None:
        self.whole = whole
        """Whether its bytes are there already: then nothing need be computed for it."""
        self._file, self._place, self._dtype = file, place, dtype
        self._at = place.offset
        self._digest = hashlib.sha256(bytes(place.offset - before))

    def append(self, rows: NDArray[Any]) -> None:
        """Write the next rows, unless they are there already."""
        if self.whole:
            return
        content = np.ascontiguousarray(rows.astype(self._dtype, copy=False))
        written = content.data.cast("B") if content.size else b""
        self._digest.update(written)
        self._file.write_at(self._at, written)
        self._at += content.nbytes
        if self._at == self._place.end:
            self._file.finish(self._place._replace(sha256=self._digest.hexdigest()))


class WeightFile:
    """Fills `model.onnx.data` and remembers the initialisers that point into it.

    Args:
        path: The file; it is written anew, but for what a journal knows to be whole.
        journal: Where each tensor is noted once it is written; None notes nothing.
    """

    def __init__(self, path: Path, journal: Journal | None = None) -> None:
        self._name, self._journal = path.name, journal
        kept = journal.whole(path) if journal is not None else []
        self._kept = {one.name: one for one in kept}
        self._file = open_unlinked(path, "r+b" if kept else "wb")
        # What lies behind is of a tensor that was cut short.
        self._file.truncate(kept[-1].end if kept else 0)
        self._end = 0
        self.initializers: list[TensorProto] = []

    @property
    def size(self) -> int:
        """Bytes of all tensors so far, with what lies between them."""
        return self._end

    def reserve(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Region:
        """Give the tensor `name` its place, to be filled by the caller unless it is whole."""
        kind, before = np.dtype(dtype), self._end
        offset = -(-before // _ALIGNMENT) * _ALIGNMENT
        length = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        self._end = offset + length
        self._point(name, kind, shape, offset, length)
        place = Written(name, offset, length, "")
        return Region(self, place, kind, before=before, whole=self._is_whole(place))

    def write_at(self, offset: int, content: bytes | memoryview) -> None:
        """Write some bytes at `offset`."""
        self._file.seek(offset)
        self._file.write(content)

    def finish(self, tensor: Written) -> None:
        """Take in that all bytes of a tensor were written."""
        if self._journal is not None:
            self._file.flush()
            self._journal.note(tensor)

    def share(self, name: str, other: str, shape: tuple[int, ...]) -> str:
        """Let `name` be the bytes of `other` under another shape."""
        original = next(item for item in self.initializers if item.name == other)
        place = {entry.key: entry.value for entry in original.external_data}
        dtype = onnx.helper.tensor_dtype_to_np_dtype(original.data_type)
        self._point(name, dtype, shape, int(place["offset"]), int(place["length"]))
        return name

    def end(self) -> None:
        """Let the file end with its last tensor, whatever else a journal knew to be in it."""
        self._file.truncate(self._end)

    def close(self) -> None:
        """Close the file. One that was not ended keeps what the next try may go on with."""
        self._file.close()

    def _is_whole(self, place: Written) -> bool:
        kept = self._kept.get(place.name)
        return kept is not None and (kept.offset, kept.length) == (place.offset, place.length)

    def _point(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, length: int
    ) -> None:
        tensor = TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(dtype),
            dims=shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", self._name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)


class WeightPlan(WeightFile):
    """Gives tensors their places in a file that nobody writes, and so tells how large it is.

    Every tensor counts as whole, so nothing is ever written.
    """

    def __init__(self, name: str) -> None:
        self._name, self._journal, self._kept = name, None, {}
        self._end = 0
        self.initializers: list[TensorProto] = []

    def _is_whole(self, place: Written) -> bool:
        return True
