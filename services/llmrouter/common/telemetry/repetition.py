"""A bound on how often the same is said: a fault that repeats must not fill the disk."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Repetition"]

_MAX_KEYS = 1024


@dataclass(slots=True)
class _Window:
    began: float
    said: int = 0
    held_back: int = 0


class Repetition:
    """Lets each key through so often per window, and counts what it holds back.

    Args:
        burst: Times per window.
        seconds: Length of a window.
        clock: Monotonic seconds.
    """

    def __init__(
        self, burst: int = 10, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._seconds, self._clock = burst, seconds, clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._lock = threading.Lock()

    def pass_on(self, key: str) -> int | None:
        """Return None for what is to be held back, else how often it was since the last time."""
        now = self._clock()
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _Window(now)
                if len(self._windows) > _MAX_KEYS:
                    self._windows.popitem(last=False)
            self._windows.move_to_end(key)
            held_back = 0
            if now - window.began >= self._seconds:
                held_back, window.held_back = window.held_back, 0
                window.began, window.said = now, 0
            if window.said >= self._burst:
                window.held_back += 1
                return None
            window.said += 1
            return held_back
