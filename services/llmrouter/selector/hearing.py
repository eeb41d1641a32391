"""A clock that stands still while its event loop is too busy to hear anybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["Hearing"]


class Hearing:
    """Seconds in which what others say could have been heard; of one event loop.

    Silence is measured by it: a loop with seconds of work at hand has not listened, so that nobody
    has been silent to it. Each time that the loop comes round, the clock goes on by one beat at
    most; an answer that has arrived needs a few rounds until it is taken in.
    """

    def __init__(self, beat: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Make one that goes on from `clock`'s time; it stops after one beat until `start`.

        Args:
            beat: Seconds; a fraction of the silence that counts.
            clock: Monotonic seconds.
        """
        self._beat, self._clock = beat, clock
        self._at = self._heard = clock()
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return the time, in seconds."""
        return self._heard + min(self._beat, max(0.0, self._clock() - self._at))

    def start(self) -> None:
        """Go on from now on, as long as the running loop does."""
        self._heard, self._at = self.now(), self._clock()
        self._timer = asyncio.get_running_loop().call_later(self._beat, self.start)

    def close(self) -> None:
        """Stop. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
