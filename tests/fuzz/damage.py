"""Damaging bytes: the same number damages the same bytes in the same way, on every machine."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence

__all__ = ["damaged"]

_NUMBERS = (0, 1, 7, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_WORDS = (
    b"null", b"-1", b"0", b"1e999", b"NaN", b"18446744073709551616", b"[]", b"{}", b"true", b'""',
    b'"../../etc/passwd"', b'"\\ud800"', b"[" * 2000, b"1" * 5000, b'"' + b"x" * 100_000 + b'"',
)  # fmt: skip
_VALUE = re.compile(rb'-?\d+(?:\.\d+)?|"(?:[^"\\]|\\.){0,64}"|true|false|null')
_HEAD = 4096
_MAX_COPIED = 1 << 16

Damage = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def damaged(content: bytes, number: int, name: str, others: Sequence[bytes] = ()) -> bytes:
    """Return `content` with one to four damages.

    Args:
        content: Of a whole file.
        number: Which damages, together with `name`.
        name: Of the file.
        others: Contents of files of its kind, pieces of which may be put into it.
    """
    chance = random.Random(f"{name} {number}")  # noqa: S311 - repeatable, not secret
    for _ in range(chance.randint(1, 4)):
        content = chance.choice(_DAMAGES)(chance, content, others)
    return content


def _place(chance: random.Random, content: bytes) -> int:
    """Return a place, half of the time one of the head, where sizes and places stand."""
    most = len(content) if chance.random() < 0.5 else min(len(content), _HEAD)
    return chance.randrange(max(1, most))


def _flip(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8) if content else 0):
        changed[_place(chance, content)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _number(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    layout = chance.choice("BHIQ")
    size = struct.calcsize(f"<{layout}")
    at = _place(chance, content)
    value = struct.pack(f"<{layout}", chance.choice(_NUMBERS) % 2 ** (8 * size))
    return content[:at] + value + content[at + size :]


def _word(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Put another value in the place of one, as text formats have them."""
    found = list(_VALUE.finditer(content[: 1 << 20]))
    if not found:
        return content
    old = chance.choice(found)
    return content[: old.start()] + chance.choice(_WORDS) + content[old.end() :]


def _cut(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: _place(chance, content)]


def _drop(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(chance, content)
    return content[:at] + content[at + chance.randint(1, 64) :]


def _repeat(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(chance, content)
    end = at + chance.choice((1, 8, 64, 1024))
    return content[:end] + content[at:end] * chance.randint(1, 32) + content[end:]


def _splice(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others) if others else content
    begin = _place(chance, other)
    piece = other[begin : begin + chance.randint(1, _MAX_COPIED)]
    at = _place(chance, content)
    return content[:at] + piece + content[at + chance.choice((0, len(piece))) :]


_DAMAGES: tuple[Damage, ...] = (
    _flip,
    _flip,
    _number,
    _number,
    _word,
    _cut,
    _drop,
    _repeat,
    _splice,
)
