"""Sums over the last minute, in a ring of a few buckets."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Recent", "RecentCounts"]

_BUCKETS = 12
_BUCKET_SECONDS = 5.0


class Recent(NamedTuple):
    """What happened within the last minute."""

    attempts: float = 0.0
    failures: float = 0.0
    completion_tokens: float = 0.0
    cost: float = 0.0


class RecentCounts:
    """Counts what happened by time; older than a minute is forgotten."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, Recent] = {}

    def add(self, counts: tuple[float, float, float, float], now: float) -> None:
        """Take in attempts, failures, tokens and cost at `now` (seconds of a monotonic clock)."""
        place = int(now // _BUCKET_SECONDS)
        held = self._buckets.get(place, Recent())
        self._buckets[place] = Recent(*(a + b for a, b in zip(held, counts, strict=True)))
        if len(self._buckets) > _BUCKETS + 1:
            self._buckets = {
                at: one for at, one in self._buckets.items() if place - _BUCKETS < at <= place
            }

    def total(self, now: float) -> Recent:
        """Return the sums of the minute before `now`."""
        place = int(now // _BUCKET_SECONDS)
        held = (one for at, one in self._buckets.items() if place - _BUCKETS < at <= place)
        return Recent(*(sum(values) for values in zip(Recent(), *held, strict=True)))
