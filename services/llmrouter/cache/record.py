"""One stored answer as bytes: its times, what can make it unusable, a checksum, the answer."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from llmrouter.common.invalidation import LABEL_BYTES, LABEL_OVERHEAD

__all__ = ["Record", "RecordError"]

_HEADER = struct.Struct(">4sddQBB16s")
_MAGIC = b"LRC2"
_FUTURE_SECONDS = 60.0
"""How far clocks of machines may differ. A record from beyond was stored before the clock was set
back; nobody knows how old it is."""


class RecordError(Exception):
    """Stored bytes are not the record that was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """An answer, packed, and its times in seconds since the epoch."""

    stored_at: float
    expires_at: float
    as_of: int
    """The sequence of invalidations that stood when its generation began."""
    labels: tuple[bytes, ...]
    """16 bytes each, at most 255."""
    codec: int
    """How the payload is packed; see `compression.py`."""
    payload: bytes

    @property
    def size(self) -> int:
        """About the bytes that payload and labels take in memory."""
        return len(self.payload) + len(self.labels) * (LABEL_BYTES + LABEL_OVERHEAD)

    def lives(self, now: float, grace: float = 0.0) -> bool:
        """Return whether it may be served at `now`, or `grace` seconds late, by its times."""
        return self.stored_at - _FUTURE_SECONDS <= now < self.expires_at + grace

    def pack(self, key: bytes) -> bytes:
        """Return the bytes to store under `key`; the checksum covers the key as well."""
        body = b"".join(self.labels) + self.payload
        facts = (self.stored_at, self.expires_at, self.as_of, self.codec, len(self.labels))
        return _HEADER.pack(_MAGIC, *facts, _digest(key, facts, body)) + body

    @staticmethod
    def unpack(key: bytes, data: bytes) -> Record:
        """Return the record that was stored under `key`.

        Raises:
            RecordError: The bytes are damaged, or were stored under another key.
        """
        if len(data) < _HEADER.size:
            raise RecordError(f"{len(data)} bytes are too few for a record")
        magic, *facts, digest = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if magic != _MAGIC:
            raise RecordError("it is no record of this version")
        if digest != _digest(key, tuple(facts), body):
            raise RecordError("the checksum does not match")
        stored_at, expires_at, as_of, codec, count = facts
        end = count * LABEL_BYTES
        labels = tuple(body[at : at + LABEL_BYTES] for at in range(0, end, LABEL_BYTES))
        return Record(stored_at, expires_at, as_of, labels, codec, body[end:])

    @staticmethod
    def times(data: bytes) -> tuple[float, float]:
        """Return when packed bytes were stored and when they expire, unchecked.

        Raises:
            RecordError: They are no record.
        """
        if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
            raise RecordError("it is no record of this version")
        return _HEADER.unpack_from(data)[1:3]


def _digest(key: bytes, facts: tuple[float | int, ...], body: bytes) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    state.update(struct.pack(">IddQBB", len(key), *facts))
    state.update(key)
    state.update(body)
    return state.digest()
