"""Answers in memory: least recently used bytes, bounded in bytes, each with a time to live."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ENTRY_OVERHEAD", "MemoryTier", "TierCounts"]

ENTRY_OVERHEAD = 256
"""Bytes counted for each entry beside its key and value, near what CPython takes."""


@dataclass(frozen=True, slots=True)
class TierCounts:
    """Size of a tier now, and what it did since start."""

    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    """Entries dropped to make room; expired ones do not count."""


class MemoryTier:
    """Bytes by bytes, the least recently used leave first. For one event loop, not for threads."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty.

        Args:
            max_bytes: Bytes held at most, keys, values and `ENTRY_OVERHEAD` each; 0 holds nothing.
            clock: Seconds.
        """
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value and mark it as used; None when it is missing or has expired."""
        entry = self._entries.get(key)
        if entry is not None and entry[1] <= self._clock():
            self.remove(key)
            entry = None
        if entry is None:
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return entry[0]

    def put(self, key: bytes, value: bytes, ttl_seconds: float) -> bool:
        """Keep a value, in place of an older one of its key.

        Args:
            key: Any bytes.
            value: Any bytes.
            ttl_seconds: How long it lives; 0 or less is not kept.

        Returns:
            False when it is larger than the whole tier or already expired, and so is not kept.
        """
        self.remove(key)
        size = _size(key, value)
        if size > self._max_bytes or ttl_seconds <= 0:
            return False
        while self._bytes + size > self._max_bytes:
            oldest = next(iter(self._entries))
            self.remove(oldest)
            self._evictions += 1
        self._entries[key] = (value, self._clock() + ttl_seconds)
        self._bytes += size
        return True

    def remove(self, key: bytes) -> bool:
        """Forget a key; True when it was held."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._bytes -= _size(key, entry[0])
        return True

    def clear(self) -> None:
        """Forget everything; the counts since start stay."""
        self._entries.clear()
        self._bytes = 0

    def counts(self) -> TierCounts:
        """Return sizes and counts; expired entries that nobody asked for still count as held."""
        return TierCounts(
            entries=len(self._entries),
            bytes=self._bytes,
            max_bytes=self._max_bytes,
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
        )

    def __contains__(self, key: bytes) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry[1] > self._clock()

    def __len__(self) -> int:
        return len(self._entries)


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_OVERHEAD
