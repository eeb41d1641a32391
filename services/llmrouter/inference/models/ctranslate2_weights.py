"""A strict walk over a CTranslate2 `model.bin`, before the library may follow its numbers.

The layout is what `ctranslate2.specs.model_spec` writes: version, specification, variables with
their values, aliases. Every length is compared with the file's size; weights are passed over.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["Variable", "Weights", "read_weights"]

_BINARY_VERSION = 6
_MAX_VARIABLES = 65_536
_MAX_RANK = 4
_TYPES = (("float32", 4), ("int8", 1), ("int16", 2), ("int32", 4), ("float16", 2), ("bfloat16", 2))
"""By their number in the file: name and bytes of a value."""
_SCALARS = {"float32": "<f", "int8": "<b", "int16": "<h", "int32": "<i", "float16": "<e"}


@dataclass(frozen=True, slots=True)
class Variable:
    """What a variable claims to be; its bytes are in the file."""

    shape: tuple[int, ...]
    """Empty for a scalar."""
    dtype: str
    value: float | None = None
    """Of a scalar; None for others, and for a bfloat16, as which none is written."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The variables of a file by their names, aliases resolved."""

    file: Path
    specification: str
    variables: Mapping[str, Variable]


def read_weights(file: Path, remedy: str) -> Weights:
    """Check every count and length of `file` and return what its variables claim to be.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, the variable, what is wrong, and `remedy`.
    """
    try:
        with file.open("rb") as stream:
            if file.stat().st_size == 0:  # what is empty cannot be mapped
                raise broken_file(file, "is empty", remedy)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Walk(file, data, remedy).run()
    except OSError as error:
        raise broken_file(file, f"cannot be read ({error.strerror})", remedy) from None


class _Walk:
    """One pass from the first byte to the last."""

    def __init__(self, file: Path, data: mmap.mmap, remedy: str) -> None:
        self._file, self._data, self._remedy, self._at = file, data, remedy, 0
        self._found: dict[str, Variable] = {}

    def run(self) -> Weights:
        version = self._number("<I", "version")
        if version != _BINARY_VERSION:
            self._fail(f"has the binary version {version}; supported is {_BINARY_VERSION}")
        specification = self._string("specification")
        self._number("<I", "revision")
        for _ in range(self._count("variables")):
            self._variable()
        aliases = [
            (self._string("alias"), self._string("alias")) for _ in range(self._count("aliases"))
        ]
        for alias, name in aliases:
            if name not in self._found:
                self._fail(f"gives '{alias}' as another name of '{name}', which it does not have")
            self._keep(alias, self._found[name])
        for alias, name in aliases:  # the library lends the scale along with the weight
            if f"{name}_scale" in self._found:
                self._found.setdefault(f"{alias}_scale", self._found[f"{name}_scale"])
        if self._at != len(self._data):
            self._fail(f"has {len(self._data) - self._at} bytes behind its end")
        return Weights(self._file, specification, self._found)

    def _variable(self) -> None:
        name = self._string("name of a variable")
        rank = self._number("<B", name)
        if rank > _MAX_RANK:
            self._fail(f"gives '{name}' {rank} dimensions; at most {_MAX_RANK}")
        shape = tuple(self._number("<I", name) for _ in range(rank))
        kind = self._number("<B", name)
        if kind >= len(_TYPES):
            self._fail(f"gives '{name}' the unknown type {kind}")
        dtype, width = _TYPES[kind]
        size = self._number("<I", name)
        if size == 0 or size != math.prod(shape) * width:
            self._fail(f"gives '{name}' {size} bytes for {list(shape)} values of {dtype}")
        self._skip(size, name)
        value = None
        if not shape and dtype in _SCALARS:
            (value,) = struct.unpack_from(_SCALARS[dtype], self._data, self._at - size)
        self._keep(name, Variable(shape, dtype, value))

    def _keep(self, name: str, variable: Variable) -> None:
        if name in self._found:
            self._fail(f"has '{name}' twice")
        self._found[name] = variable

    def _count(self, what: str) -> int:
        count = self._number("<I", f"number of {what}")
        if count > _MAX_VARIABLES:
            self._fail(f"has {count} {what}; at most {_MAX_VARIABLES}")
        return count

    def _number(self, layout: str, what: str) -> int:
        size = struct.calcsize(layout)
        self._skip(size, what)
        return int(struct.unpack_from(layout, self._data, self._at - size)[0])

    def _string(self, what: str) -> str:
        length = self._number("<H", what)
        self._skip(length, what)
        text = self._data[self._at - length : self._at]
        if text.find(b"\0") != length - 1 or not text.isascii():
            self._fail(f"has a {what} at byte {self._at - length} that is no text ending in zero")
        return text[:-1].decode("ascii")

    def _skip(self, count: int, what: str) -> None:
        if count > len(self._data) - self._at:
            self._fail(f"ends within '{what}' at byte {self._at}; it is truncated or damaged")
        self._at += count

    def _fail(self, problem: str) -> NoReturn:
        raise broken_file(self._file, problem, self._remedy)
