"""Answers in memory, bounded in bytes, each with a time to live: W-TinyLFU.

Source: Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM TOS
2017. Newcomers enter a small window; when they leave it they are kept only if they were asked for
more often than those that would have to go, so that a scan of things asked for once moves nothing.
`make bench NAME=cache` compares it with S3-FIFO.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from llmrouter.common.frequency import FrequencySketch

__all__ = ["ENTRY_OVERHEAD", "MemoryTier", "TierCounts"]

ENTRY_OVERHEAD = 600
"""Bytes counted for each entry beside its key and value: what CPython takes for the objects that
an answer and its place are made of, by `tracemalloc`."""
_WINDOW = 0.01
"""Share of the bytes that newcomers have to themselves."""
_PROTECTED = 0.8
"""Share of the rest for what was asked for again."""
_MIN_ENTRY = 512
"""Bytes below which an entry hardly ever is: how many keys the sketch has to tell apart."""
_MAX_COUNTERS = 1 << 20
ValueT = TypeVar("ValueT")


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

    def __add__(self, other: TierCounts) -> TierCounts:
        return TierCounts(
            self.entries + other.entries,
            self.bytes + other.bytes,
            self.max_bytes + other.max_bytes,
            self.hits + other.hits,
            self.misses + other.misses,
            self.evictions + other.evictions,
        )


@dataclass(slots=True)
class _Entry(Generic[ValueT]):
    value: ValueT
    size: int
    expires: float


class MemoryTier(Generic[ValueT]):
    """Values by bytes. For one event loop, not for threads.

    The newest entry is always held; of the others those asked for most often stay.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty.

        Args:
            max_bytes: Bytes held at most, keys, values and `ENTRY_OVERHEAD` each; 0 holds nothing.
            clock: Seconds; must never go backwards.
        """
        self._max_bytes = max_bytes
        self._clock = clock
        self._window: OrderedDict[bytes, _Entry[ValueT]] = OrderedDict()
        self._probation: OrderedDict[bytes, _Entry[ValueT]] = OrderedDict()
        self._protected: OrderedDict[bytes, _Entry[ValueT]] = OrderedDict()
        self._window_bytes = self._protected_bytes = self._bytes = 0
        self._window_room = int(max_bytes * _WINDOW)
        self._protected_room = int((max_bytes - self._window_room) * _PROTECTED)
        self._sketch = FrequencySketch(min(_MAX_COUNTERS, 4 * max_bytes // _MIN_ENTRY))
        self._hits = self._misses = self._evictions = 0

    def get(
        self,
        key: bytes,
        accepts: Callable[[ValueT], bool] = lambda _: True,
        *,
        ahead: bool = False,
    ) -> ValueT | None:
        """Return the value and mark it as used; None when it is missing or has expired.

        Args:
            key: Its key.
            accepts: Whether a value serves; one that does not stays, and counts as a miss.
            ahead: Whether what is missing is asked for again, and does not count yet.
        """
        self._sketch.count(key, 10 * max(64, len(self)))
        entry = self._find(key)
        if entry is not None and entry.expires <= self._clock():
            self.remove(key)
            entry = None
        if entry is None or not accepts(entry.value):
            self._misses += not ahead
            return None
        self._hits += 1
        self._use(key, entry)
        return entry.value

    def put(self, key: bytes, value: ValueT, size: int, ttl_seconds: float) -> bool:
        """Keep a value, in place of an older one of its key.

        Args:
            key: Any bytes.
            value: What `get` returns.
            size: Its bytes.
            ttl_seconds: How long it lives; 0 or less is not kept.

        Returns:
            False when it is larger than the whole tier or already expired, and so is not kept.
        """
        self.remove(key)
        entry = _Entry(value, len(key) + size + ENTRY_OVERHEAD, self._clock() + ttl_seconds)
        if entry.size > self._max_bytes or ttl_seconds <= 0:
            return False
        self._window[key] = entry
        self._window_bytes += entry.size
        self._bytes += entry.size
        while self._window_bytes > self._window_room and len(self._window) > 1:
            self._leave_window()
        while self._bytes > self._max_bytes:  # the newest alone is larger than the window
            self._evict(next(iter(self._probation or self._protected)))
        return True

    def remove(self, key: bytes) -> bool:
        """Forget a key; True when it was held."""
        if (entry := self._window.pop(key, None)) is not None:
            self._window_bytes -= entry.size
        elif (entry := self._protected.pop(key, None)) is not None:
            self._protected_bytes -= entry.size
        else:
            entry = self._probation.pop(key, None)
        if entry is None:
            return False
        self._bytes -= entry.size
        return True

    def clear(self) -> None:
        """Forget everything; the counts since start stay."""
        for segment in (self._window, self._probation, self._protected):
            segment.clear()
        self._window_bytes = self._protected_bytes = self._bytes = 0

    def counts(self) -> TierCounts:
        """Return sizes and counts; expired entries that nobody asked for still count as held."""
        return TierCounts(
            entries=len(self),
            bytes=self._bytes,
            max_bytes=self._max_bytes,
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
        )

    def __contains__(self, key: bytes) -> bool:
        entry = self._find(key)
        return entry is not None and entry.expires > self._clock()

    def __len__(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    def _find(self, key: bytes) -> _Entry[ValueT] | None:
        return self._protected.get(key) or self._window.get(key) or self._probation.get(key)

    def _use(self, key: bytes, entry: _Entry[ValueT]) -> None:
        if key in self._protected:
            self._protected.move_to_end(key)
        elif key in self._window:
            self._window.move_to_end(key)
        else:
            del self._probation[key]
            self._protected[key] = entry
            self._protected_bytes += entry.size
            while self._protected_bytes > self._protected_room and len(self._protected) > 1:
                eldest, demoted = self._protected.popitem(last=False)
                self._protected_bytes -= demoted.size
                self._probation[eldest] = demoted

    def _leave_window(self) -> None:
        """Move the window's eldest on, if it is worth those that have to go for it."""
        key, entry = self._window.popitem(last=False)
        self._window_bytes -= entry.size
        self._probation[key] = entry
        victims = self._victims(self._bytes - self._max_bytes, sparing=key)
        if not victims:
            return
        if self._worth(key) > sum(self._worth(victim) for victim in victims):
            for victim in victims:
                self._evict(victim)
        else:
            self._evict(key)

    def _victims(self, needed: int, sparing: bytes) -> list[bytes]:
        """Return who would leave first to free that many bytes."""
        victims: list[bytes] = []
        for segment in (self._probation, self._protected):
            for key, entry in segment.items():
                if needed <= 0:
                    return victims
                if key != sparing:
                    victims.append(key)
                    needed -= entry.size
        return victims

    def _worth(self, key: bytes) -> int:
        return self._sketch.estimate(key) if key in self else 0

    def _evict(self, key: bytes) -> None:
        self._evictions += key in self
        self.remove(key)
