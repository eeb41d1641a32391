"""A strict walk over the header of a safetensors file, before anything follows its numbers.

Layout: https://github.com/huggingface/safetensors#format. 8 bytes hold the length of a JSON object
from name to type, shape and place; the tensors' bytes follow.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmrouter.inference.importers.refusal import bad_file

__all__ = ["StoredTensor", "check_safetensors"]

_LENGTH_BYTES = 8
_MAX_HEADER = 16 * 2**20
_MAX_TENSORS = 65_536
_MAX_NAME = 512
_MAX_DIMENSIONS = 8
_MAX_DIMENSION = 1 << 40
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


class StoredTensor(NamedTuple):
    """What the header says of a tensor."""

    kind: str
    """Such as `BF16`."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the file's beginning."""


def check_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Check every name, shape and place in the header of the file.

    Returns:
        Name to type and shape of all tensors.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, and the tensor and offset that are wrong.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            if len(start) < _LENGTH_BYTES:
                raise bad_file(path, f"is cut off: {size} bytes hold no safetensors header")
            (length,) = struct.unpack("<Q", start)
            if length > min(_MAX_HEADER, size - _LENGTH_BYTES):
                problem = (
                    f"declares a header of {length} bytes; it has {size}, and at most "
                    f"{_MAX_HEADER} are read"
                )
                raise bad_file(path, problem)
            header = _parsed(path, file.read(length))
    except OSError as error:
        raise bad_file(path, f"cannot be read: {error.strerror}") from None
    header.pop("__metadata__", None)
    if len(header) > _MAX_TENSORS:
        raise bad_file(path, f"has {len(header)} tensors; at most {_MAX_TENSORS}")
    tensors, places = {}, []
    for name, entry in header.items():
        kind, shape, place = _tensor(path, name, entry)
        tensors[name] = StoredTensor(kind, shape, _LENGTH_BYTES + length + place[0])
        places.append((*place, name))
    _check_places(path, sorted(places), size - _LENGTH_BYTES - length)
    return tensors


def _parsed(path: Path, header: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise bad_file(path, f"has a header that is not JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise bad_file(path, "has a header that is no JSON object")
    return parsed


def _tensor(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """Return type, shape and place of one tensor, counted from where the header ends."""
    if not 1 <= len(name) <= _MAX_NAME or not name.isprintable():
        raise bad_file(path, f"has a tensor of the name {name[:80]!a}; unusable")
    if not isinstance(entry, Mapping):
        raise bad_file(path, f"describes tensor '{_short(name)}' by no object")
    kind: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    place: Any = entry.get("data_offsets")
    if not isinstance(kind, str) or kind not in _BYTES:
        raise bad_file(path, f"gives tensor '{_short(name)}' the unknown type {_short(kind)}")
    if not _whole(shape, _MAX_DIMENSION) or len(shape) > _MAX_DIMENSIONS:
        raise bad_file(path, f"gives tensor '{_short(name)}' the shape {_short(shape)}; absurd")
    if not _whole(place, 1 << 62) or len(place) != 2:
        raise bad_file(path, f"places tensor '{_short(name)}' at {_short(place)}; absurd")
    begin, end = place
    needed = math.prod(shape) * _BYTES[kind]
    if end - begin != needed:
        raise bad_file(
            path,
            f"places tensor '{_short(name)}' at {begin} to {end}; its shape needs {needed} bytes",
        )
    return kind, tuple(shape), (begin, end)


def _check_places(path: Path, places: list[tuple[int, int, str]], size: int) -> None:
    """Check that tensors lie one behind the other and fill the file."""
    at = 0
    for begin, end, name in places:
        if begin != at:
            raise bad_file(
                path, f"places tensor '{_short(name)}' at {begin}, not at {at} where the last ends"
            )
        at = end
        if at > size:
            raise bad_file(
                path,
                f"places tensor '{_short(name)}' at {begin} to {end}, outside its {size} bytes of "
                "tensors; the file is truncated or damaged",
            )
    if at != size:
        raise bad_file(path, f"has {size} bytes of tensors, but describes {at}")


def _whole(values: Any, most: int) -> bool:
    return isinstance(values, list) and all(type(one) is int and 0 <= one <= most for one in values)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
