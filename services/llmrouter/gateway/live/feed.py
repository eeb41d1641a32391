"""One gatherer for all who watch, and none while nobody does."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Awaitable, Callable

from llmrouter.common.errors import Reason, RouterError

__all__ = ["LiveFeed"]


class LiveFeed:
    """Frames for many watchers; one that reads slowly misses those between.

    Args:
        gather: Makes a frame. What it raises ends all streams.
        interval: Seconds between the beginnings of two.
        most: Watchers at once at most.
    """

    def __init__(self, gather: Callable[[], Awaitable[bytes]], interval: float, most: int) -> None:
        self._gather, self._interval, self._most = gather, interval, most
        self._gathering: asyncio.Task[None] | None = None
        self._latest: tuple[int, bytes] = (0, b"")
        self._next: asyncio.Future[None] | None = None
        self._stopped = False
        self.watchers = 0
        """How many watch now."""

    async def frames(self) -> AsyncGenerator[bytes]:
        """Yield frames until the service stops, the newest one at once.

        Raises:
            RouterError: QUEUE_FULL when too many watch already; DRAINING once stopped.
        """
        if self._stopped:
            raise RouterError(Reason.DRAINING, "the gateway is shutting down", retry_after=1.0)
        if self.watchers >= self._most:
            told = f"{self._most} pages are open already (gateway.page.watchers); close one"
            raise RouterError(Reason.QUEUE_FULL, told, retry_after=5.0)
        self.watchers += 1
        try:
            seen = 0
            while await self._moved_on(seen):
                seen, frame = self._latest
                yield frame
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._rest()

    def stop(self) -> None:
        """End all streams: they would never end by themselves."""
        self._stopped = True
        if self._gathering is not None:
            self._gathering.cancel()

    async def _moved_on(self, seen: int) -> bool:
        """Wait for a frame after number `seen`; return whether there is one, or all is over."""
        if self._gathering is None:
            self._next = asyncio.get_running_loop().create_future()
            # In nobody's name: what it asks for hours is no part of the first watcher's trace.
            self._gathering = asyncio.create_task(
                self._run(), name="live page", context=contextvars.Context()
            )
        gathering = self._gathering
        if self._latest[0] == seen and self._next is not None:
            await asyncio.wait({gathering, self._next}, return_when=asyncio.FIRST_COMPLETED)
        if not gathering.done():
            return True
        if not gathering.cancelled():
            gathering.result()
        return False

    def _rest(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
        self._gathering, self._next, self._latest = None, None, (0, b"")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            frame = await self._gather()
            told, self._next = self._next, loop.create_future()
            self._latest = self._latest[0] + 1, frame
            if told is not None:
                told.set_result(None)
            await asyncio.sleep(self._interval - (loop.time() - began))
