"""Waiting for something to change: many may watch, and nobody misses the last state."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["Changes"]


class Changes:
    """Counts changes; used from one event loop."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = False
        """Whether nothing more will change, and watchers are to leave."""
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Count one change and wake who waits for it."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    def end(self) -> None:
        """Wake everybody for the last time."""
        self.ended = True
        self.tell()

    async def after(self, seen: int, patience: float) -> int:
        """Return the count once it is past `seen`, or after `patience` seconds."""
        if self.count <= seen and not self.ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._next.wait()
        return self.count
