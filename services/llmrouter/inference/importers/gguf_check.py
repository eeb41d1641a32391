"""A strict walk over a GGUF file's header, before the reading library may follow its numbers.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every count, length and offset is
compared with the file's size, so that a hostile file costs neither time nor memory.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import NoReturn

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from llmrouter.inference.importers.refusal import bad_file

__all__ = ["check_gguf", "has_magic"]

_MAGIC = b"GGUF"
_HEADER_BYTES = 24
_VERSIONS = (2, 3)
_MAX_TENSORS = 65_536
_MAX_FIELDS = 65_536
_MAX_DIMENSIONS = 4
_MAX_DIMENSION = 1 << 31
_STRING, _ARRAY = 8, 9
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_DEFAULT_ALIGNMENT = 32


def has_magic(path: Path) -> bool:
    """Whether the file begins as GGUF files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def check_gguf(path: Path) -> None:
    """Check every count, length and offset of the file.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise bad_file(path, "is not a GGUF file (its first bytes are not 'GGUF')")
            if size < _HEADER_BYTES:
                raise bad_file(path, f"is cut off: {size} bytes hold no GGUF header")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _Walk(path, data).run()
    except OSError as error:
        raise bad_file(path, f"cannot be read: {error.strerror}") from None


class _Walk:
    """One pass over header, metadata and tensor table."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._at = path, data, 4
        self._alignment = _DEFAULT_ALIGNMENT

    def run(self) -> None:
        version = self._number("<I", "version")
        if version not in _VERSIONS:
            self._fail(f"has GGUF version {version}; supported are 2 and 3 (little endian)")
        tensors = self._bounded("tensor count", _MAX_TENSORS)
        fields = self._bounded("metadata count", _MAX_FIELDS)
        for _ in range(fields):
            self._field()
        table = [self._tensor() for _ in range(tensors)]
        start = -(-self._at // self._alignment) * self._alignment
        if sum(length for _, _, length in table) > len(self._data):
            self._fail(
                f"declares more bytes of tensors than its {len(self._data)}; it is truncated or "
                "its tensors overlap"
            )
        for name, offset, length in table:
            if offset % self._alignment or start + offset + length > len(self._data):
                self._fail(
                    f"places tensor '{name}' at {offset} with {length} bytes, outside its "
                    f"{len(self._data)} bytes; the file is truncated or damaged"
                )

    def _field(self) -> None:
        name = self._string("metadata name")
        kind = self._number("<I", name)
        before = self._at
        self._value(kind, name)
        if name == "general.alignment" and kind == 4:
            (self._alignment,) = struct.unpack_from("<I", self._data, before)
            if not 1 <= self._alignment <= 1 << 20 or self._alignment & (self._alignment - 1):
                self._fail(f"has general.alignment = {self._alignment}; a power of two is needed")

    def _value(self, kind: int, name: str) -> None:
        if kind == _STRING:
            self._string(name)
        elif kind == _ARRAY:
            self._array(name)
        elif kind in _SCALAR_BYTES:
            self._skip(_SCALAR_BYTES[kind], name)
        else:
            self._fail(f"has metadata '{name}' of unknown type {kind}")

    def _array(self, name: str) -> None:
        kind = self._number("<I", name)
        length = self._number("<Q", name)
        if kind in _SCALAR_BYTES:
            self._skip(length * _SCALAR_BYTES[kind], name)
        elif kind == _STRING:
            # Each string takes 8 bytes at least, so the length is bounded before the loop.
            if length * 8 > len(self._data) - self._at:
                self._fail(f"has '{name}' with {length} strings, more than the file can hold")
            for _ in range(length):
                self._string(name)
        else:
            self._fail(f"has an array '{name}' of type {kind}; nested arrays are not supported")

    def _tensor(self) -> tuple[str, int, int]:
        name = self._string("tensor name")
        count = self._number("<I", name)
        if not 1 <= count <= _MAX_DIMENSIONS:
            self._fail(f"gives tensor '{name}' {count} dimensions; 1 to {_MAX_DIMENSIONS}")
        shape = [self._number("<Q", name) for _ in range(count)]
        if not all(1 <= length <= _MAX_DIMENSION for length in shape):
            self._fail(f"gives tensor '{name}' the shape {shape}; absurd")
        kind = self._number("<I", name)
        offset = self._number("<Q", name)
        if kind not in GGMLQuantizationType._value2member_map_:
            self._fail(f"gives tensor '{name}' the unknown type {kind}")
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if shape[0] % block:
            self._fail(f"gives tensor '{name}' rows of {shape[0]}, no multiple of {block}")
        return name, offset, math.prod(shape) // block * block_bytes

    def _bounded(self, what: str, most: int) -> int:
        value = self._number("<Q", what)
        if value > most:
            self._fail(f"has a {what} of {value}; at most {most}")
        return value

    def _number(self, layout: str, what: str) -> int:
        size = struct.calcsize(layout)
        self._skip(size, what)
        return int(struct.unpack_from(layout, self._data, self._at - size)[0])

    def _string(self, what: str) -> str:
        length = self._number("<Q", what)
        self._skip(length, what)
        return self._data[self._at - length : self._at].decode("utf-8", "replace")

    def _skip(self, count: int, what: str) -> None:
        if count > len(self._data) - self._at:
            self._fail(f"ends within '{what}' at byte {self._at}; it is truncated or damaged")
        self._at += count

    def _fail(self, what: str) -> NoReturn:
        raise bad_file(self._path, what)
