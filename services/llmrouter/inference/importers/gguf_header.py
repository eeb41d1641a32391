"""Reads a GGUF file's header, which is untrusted: metadata and the table of tensors.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every count, length and offset is
compared with the file's size before it is followed, so that a hostile file costs neither time nor
memory.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from llmrouter.inference.importers.refusal import bad_file

__all__ = ["GgufHeader", "GgufTensor", "has_magic", "read_header"]

_MAGIC = b"GGUF"
_HEADER_BYTES = 24
_VERSIONS = (2, 3)
_MAX_TENSORS = 65_536
_MAX_FIELDS = 65_536
_MAX_NAME = 512
_MAX_DIMENSIONS = 4
_MAX_DIMENSION = 1 << 31
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""Type of metadata to struct's letter for it."""
_MAX_VALUES = 1 << 22
"""Members of all lists together: a vocabulary of a million tokens has three such lists."""
_DEFAULT_ALIGNMENT = 32


class GgufTensor(NamedTuple):
    """What the table says of a tensor."""

    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    """[out, in] for matrices."""
    offset: int
    """Bytes from the file's beginning."""
    length: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Everything before the weights."""

    fields: Mapping[str, Any]
    """Metadata: numbers, truth values, texts and lists of them."""
    tensors: Mapping[str, GgufTensor]


def has_magic(path: Path) -> bool:
    """Whether the file begins as GGUF files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_header(path: Path) -> GgufHeader:
    """Read and check metadata and tensor table.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():  # a pipe would be waited for
            raise bad_file(path, "is not a file; give the path of the GGUF file itself")
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise bad_file(path, "is not a GGUF file (its first bytes are not 'GGUF')")
            if size < _HEADER_BYTES:
                raise bad_file(path, f"is cut off: {size} bytes hold no GGUF header")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Walk(path, data).run()
    except OSError as error:
        raise bad_file(path, f"cannot be read: {error.strerror}") from None


class _Walk:
    """One pass over header, metadata and tensor table."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._at = path, data, 4
        self._values = 0

    def run(self) -> GgufHeader:
        version = self._number("I", "version")
        if version not in _VERSIONS:
            self._fail(f"has GGUF version {version}; supported are 2 and 3 (little endian)")
        tensors = self._bounded("tensor count", _MAX_TENSORS)
        count = self._bounded("metadata count", _MAX_FIELDS)
        fields: dict[str, Any] = {}
        for _ in range(count):
            name = self._name("metadata name")
            if name in fields:
                self._fail(f"has the metadata '{name}' twice")
            fields[name] = self._value(self._number("I", name), name)
        table: dict[str, GgufTensor] = {}
        for _ in range(tensors):
            name = self._name("tensor name")
            if name in table:
                self._fail(f"has the tensor '{name}' twice")
            table[name] = self._tensor(name)
        return GgufHeader(fields, self._placed(table, self._alignment(fields)))

    def _alignment(self, fields: Mapping[str, Any]) -> int:
        value = fields.get("general.alignment", _DEFAULT_ALIGNMENT)
        if type(value) is not int or not 1 <= value <= 1 << 20 or value & (value - 1):
            self._fail(f"has general.alignment = {value!r}; a power of two is needed")
        return value

    def _placed(self, table: Mapping[str, GgufTensor], alignment: int) -> Mapping[str, GgufTensor]:
        """Return the table with offsets from the file's beginning, all inside of it."""
        size, start = len(self._data), -(-self._at // alignment) * alignment
        if sum(tensor.length for tensor in table.values()) > size:
            self._fail(
                f"declares more bytes of tensors than its {size}; it is truncated or its tensors "
                "overlap"
            )
        for name, tensor in table.items():
            if tensor.offset % alignment:
                self._fail(
                    f"places tensor '{name}' at {tensor.offset}, no multiple of its alignment "
                    f"{alignment}; the file is damaged"
                )
            if start + tensor.offset + tensor.length > size:
                self._fail(
                    f"places tensor '{name}' at {tensor.offset} with {tensor.length} bytes, "
                    f"outside its {size} bytes; the file is truncated or damaged"
                )
        return {
            name: tensor._replace(offset=start + tensor.offset) for name, tensor in table.items()
        }

    def _value(self, kind: int, name: str) -> Any:
        if kind == _STRING:
            return self._string(name)
        if kind == _ARRAY:
            return self._array(name)
        if kind not in _SCALARS:
            self._fail(f"has metadata '{name}' of unknown type {kind}")
        return self._number(_SCALARS[kind], name)

    def _array(self, name: str) -> list[Any]:
        kind = self._number("I", name)
        length = self._number("Q", name)
        if kind != _STRING and kind not in _SCALARS:
            self._fail(f"has an array '{name}' of type {kind}; nested arrays are not supported")
        size = 8 if kind == _STRING else struct.calcsize(_SCALARS[kind])
        # Bounded before anything is made: each string takes 8 bytes at least.
        if length * size > len(self._data) - self._at:
            self._fail(
                f"has '{name}' with {length} members, more than the file can hold; it may be cut "
                "off: fetch it again"
            )
        self._values += length
        if self._values > _MAX_VALUES:
            self._fail(f"has '{name}' with {length} members; at most {_MAX_VALUES} in all lists")
        if kind == _STRING:
            return [self._string(name) for _ in range(length)]
        self._skip(length * size, name)
        layout = f"<{length}{_SCALARS[kind]}"
        return list(struct.unpack_from(layout, self._data, self._at - length * size))

    def _tensor(self, name: str) -> GgufTensor:
        """Read an entry of the table; its offset counts from where the weights begin."""
        count = self._number("I", name)
        if not 1 <= count <= _MAX_DIMENSIONS:
            self._fail(f"gives tensor '{name}' {count} dimensions; 1 to {_MAX_DIMENSIONS}")
        shape = [self._number("Q", name) for _ in range(count)]
        if not all(1 <= length <= _MAX_DIMENSION for length in shape):
            self._fail(f"gives tensor '{name}' the shape {shape}; absurd")
        kind = self._number("I", name)
        offset = self._number("Q", name)
        if kind not in GGMLQuantizationType._value2member_map_:
            self._fail(f"gives tensor '{name}' the unknown type {kind}")
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if shape[0] % block:
            self._fail(f"gives tensor '{name}' rows of {shape[0]}, no multiple of {block}")
        length = math.prod(shape) // block * block_bytes
        return GgufTensor(GGMLQuantizationType(kind), tuple(reversed(shape)), offset, length)

    def _bounded(self, what: str, most: int) -> int:
        value = self._number("Q", what)
        if value > most:
            self._fail(f"has a {what} of {value}; at most {most}")
        return int(value)

    def _number(self, letter: str, what: str) -> Any:
        size = struct.calcsize(letter)
        self._skip(size, what)
        return struct.unpack_from(f"<{letter}", self._data, self._at - size)[0]

    def _string(self, what: str) -> str:
        length = self._number("Q", what)
        self._skip(length, what)
        return self._data[self._at - length : self._at].decode("utf-8", "replace")

    def _name(self, what: str) -> str:
        name = self._string(what)
        if not 1 <= len(name) <= _MAX_NAME or not name.isprintable():
            self._fail(f"has the {what} {name[:80]!a} before byte {self._at}; unusable")
        return name

    def _skip(self, count: int, what: str) -> None:
        if count > len(self._data) - self._at:
            self._fail(f"ends within '{what}' at byte {self._at}; it is truncated or damaged")
        self._at += count

    def _fail(self, what: str) -> NoReturn:
        raise bad_file(self._path, what)
