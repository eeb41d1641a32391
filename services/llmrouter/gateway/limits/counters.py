"""Counters: how much of a limit is used. Pure; all times are milliseconds since the epoch.

The scripts in `scripts/` count in the same way inside a Redis; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llmrouter.gateway.limits.alerts import AlertKind, due
from llmrouter.gateway.limits.resources import Window

__all__ = [
    "CHUNKS",
    "SOON",
    "CalendarCounter",
    "Counter",
    "SlidingCounter",
    "StreamCounter",
    "counter_for",
]

CHUNKS = 32
"""Parts that a sliding window is remembered in."""
SOON = 1_000
"""When to try again where others may give back at any time."""


class Counter(Protocol):
    """Use of one limit by one subject."""

    def used(self, now: int) -> int:
        """Return what is used, reservations included."""
        ...

    def take(self, now: int, amount: int) -> int:
        """Reserve, whether it fits or not, and return a mark by which to settle it."""
        ...

    def settle(self, now: int, mark: int, reserved: int, actual: int) -> None:
        """Have a reservation count for what was used."""
        ...

    def wait(self, now: int, amount: int, ceiling: int) -> int:
        """Return in how many milliseconds `amount` may fit below `ceiling`, which holds it."""
        ...

    def reset(self, now: int) -> int:
        """Return in how many milliseconds nothing is used any more."""
        ...

    def idle(self, now: int) -> bool:
        """Whether it counts nothing, and may be forgotten."""
        ...


class SlidingCounter:
    """What was taken within the last `window` milliseconds.

    A log in chunks: what is taken within 1/32 of the window of a chunk's first amount joins it, and
    a chunk counts until its last amount is out of the window. So never more than the limit is
    taken in any window, the memory is bounded, and nothing counts for more than 1/32 too long.
    """

    __slots__ = ("_chunks", "_grain", "_sum", "window")

    def __init__(self, window: int, chunks: Sequence[Sequence[int]] = ()) -> None:
        self.window = window
        self._grain = max(1, window // CHUNKS)
        self._chunks = [list(one) for one in chunks]
        self._sum = sum(one[2] for one in self._chunks)

    @property
    def chunks(self) -> tuple[tuple[int, int, int], ...]:
        """First and last time and sum of each chunk, the oldest first."""
        return tuple((begin, last, amount) for begin, last, amount in self._chunks)

    def used(self, now: int) -> int:
        """Return what is used, reservations included."""
        chunks = self._chunks
        while chunks and chunks[0][1] + self.window <= now:
            self._sum -= chunks.pop(0)[2]
        return self._sum

    def take(self, now: int, amount: int) -> int:
        """Reserve; the mark is the beginning of the chunk."""
        self.used(now)
        self._sum += amount
        chunk = self._chunks[-1] if self._chunks else None
        # A clock that was set back goes on in the newest chunk.
        if chunk is not None and now - chunk[0] < self._grain:
            chunk[1] = max(chunk[1], now)
            chunk[2] += amount
            return chunk[0]
        self._chunks.append([now, now, amount])
        return now

    def settle(self, now: int, mark: int, reserved: int, actual: int) -> None:
        """Change the chunk; what was used beyond the reservation after it has gone counts now."""
        self.used(now)
        for place, chunk in enumerate(self._chunks):
            if chunk[0] == mark:
                chunk[2] += actual - reserved
                self._sum += actual - reserved
                if chunk[2] <= 0:
                    self._sum -= chunk[2]
                    del self._chunks[place]
                return
        if actual > reserved:
            self.take(now, actual - reserved)

    def wait(self, now: int, amount: int, ceiling: int) -> int:
        """Return in how many milliseconds enough has left the window."""
        excess = self.used(now) + amount - ceiling
        for _, last, held in self._chunks:
            excess -= held
            if excess <= 0:
                return max(1, last + self.window - now)
        return self.window

    def reset(self, now: int) -> int:
        """Return in how many milliseconds all has left the window."""
        self.used(now)
        return max(0, self._chunks[-1][1] + self.window - now) if self._chunks else 0

    def idle(self, now: int) -> bool:
        """Whether nothing is left in the window."""
        self.used(now)
        return not self._chunks


class CalendarCounter:
    """A quota of one day or month: what was spent, and what is reserved beyond."""

    __slots__ = ("alerts", "ends", "held", "requests", "spent")

    def __init__(self, ends: int, spent: int = 0, requests: int = 0, alerts: int = 0) -> None:
        self.ends, self.spent, self.requests, self.alerts = ends, spent, requests, alerts
        self.held = 0

    def used(self, now: int) -> int:
        """Return what is used, reservations included."""
        del now
        return self.spent + self.held

    def take(self, now: int, amount: int) -> int:
        """Reserve."""
        del now
        self.held += amount
        return 0

    def settle(self, now: int, mark: int, reserved: int, actual: int) -> None:
        """Turn a reservation into what was spent."""
        del now, mark
        self.held -= reserved
        self.spent += actual
        self.requests += actual > 0

    def wait(self, now: int, amount: int, ceiling: int) -> int:
        """Return the time to the end of the period; little where reservations alone are in the way.

        They may turn out too high.
        """
        if self.spent + amount <= ceiling:
            return min(SOON, self.reset(now))
        return self.reset(now)

    def reset(self, now: int) -> int:
        """Return in how many milliseconds the period ends."""
        return max(1, self.ends - now)

    def idle(self, now: int) -> bool:
        """Whether the period is over."""
        return now >= self.ends

    def raise_alerts(self, limit: int, *, refused: bool = False) -> list[AlertKind]:
        """Return the alerts that are due and were not raised in this period; they count as raised.

        Args:
            limit: Of the quota.
            refused: Whether a request was just refused.
        """
        raised = [
            one
            for one in due(self.spent, self.requests, limit, refused=refused)
            if not self.alerts & one.bit
        ]
        for one in raised:
            self.alerts |= one.bit
        return raised


class StreamCounter:
    """Requests under way."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0

    def used(self, now: int) -> int:
        """Return how many there are."""
        del now
        return self.held

    def take(self, now: int, amount: int) -> int:
        """Count in."""
        del now
        self.held += amount
        return 0

    def settle(self, now: int, mark: int, reserved: int, actual: int) -> None:
        """Count out."""
        del now, mark, actual
        self.held -= reserved

    def wait(self, now: int, amount: int, ceiling: int) -> int:
        """Return a guess: nobody knows when the next one ends."""
        del now, amount, ceiling
        return SOON

    def reset(self, now: int) -> int:
        """Return a guess, likewise."""
        del now
        return SOON if self.held else 0

    def idle(self, now: int) -> bool:
        """Whether there is none."""
        del now
        return self.held == 0


def counter_for(window: Window, ends: int) -> SlidingCounter | CalendarCounter | StreamCounter:
    """Return a counter at zero.

    Args:
        window: Over which time.
        ends: End of a day or month.
    """
    if window is Window.NOW:
        return StreamCounter()
    return CalendarCounter(ends) if window.is_calendar else SlidingCounter(window.milliseconds)
