"""How busy the processors are that were given to this process."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["CpuMeter"]

_SHORTEST_SECONDS = 1.0
"""Looks that are closer together tell the same."""


class CpuMeter:
    """Tells the share of the cores in use between two looks.

    Args:
        cores: How many were given.
        used: Seconds of processor time that the process has used so far.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        cores: int,
        used: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cores, self._used, self._clock = cores, used, clock
        self._at, self._before = clock(), used()
        self._share = 0.0

    def share(self) -> float:
        """Return the share, 0 to 1, of the last second or more; 0 before the first one is over."""
        now = self._clock()
        if now - self._at >= _SHORTEST_SECONDS:
            used = self._used()
            self._share = min(1.0, (used - self._before) / ((now - self._at) * self._cores))
            self._at, self._before = now, used
        return self._share
