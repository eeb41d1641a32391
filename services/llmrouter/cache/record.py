"""One stored answer as bytes: when it was stored, until when it lives, a checksum, the answer."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

__all__ = ["Record", "RecordError", "stored_key"]

_HEADER = struct.Struct(">4sdd16s")
_MAGIC = b"LRC1"


class RecordError(Exception):
    """Stored bytes are not the record that was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """An answer and its times, in seconds since the epoch."""

    stored_at: float
    expires_at: float
    payload: bytes

    def pack(self, key: bytes) -> bytes:
        """Return the bytes to store under `key`; the checksum covers the key as well."""
        digest = _digest(key, self.stored_at, self.expires_at, self.payload)
        return _HEADER.pack(_MAGIC, self.stored_at, self.expires_at, digest) + self.payload

    @staticmethod
    def unpack(key: bytes, data: bytes) -> Record:
        """Return the record that was stored under `key`.

        Raises:
            RecordError: The bytes are damaged, or were stored under another key.
        """
        if len(data) < _HEADER.size:
            raise RecordError(f"{len(data)} bytes are too few for a record")
        magic, stored_at, expires_at, digest = _HEADER.unpack_from(data)
        payload = data[_HEADER.size :]
        if magic != _MAGIC or digest != _digest(key, stored_at, expires_at, payload):
            raise RecordError("the checksum does not match")
        return Record(stored_at, expires_at, payload)


def stored_key(tenant: str, key: bytes) -> bytes:
    """Return the 32 bytes that an answer is stored under; no two tenants share any."""
    name = tenant.encode()
    return hashlib.sha256(len(name).to_bytes(4, "big") + name + key).digest()


def _digest(key: bytes, stored_at: float, expires_at: float, payload: bytes) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    state.update(struct.pack(">Idd", len(key), stored_at, expires_at))
    state.update(key)
    state.update(payload)
    return state.digest()
