"""Follows the cache service: what may no longer be served here, and what was spared here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.savings import SavingsTable
from llmrouter.gateway.answer_cache import News, WatchedCache
from llmrouter.gateway.near_cache import NearCache

__all__ = ["CacheWatch"]

_SILENCE_SECONDS = 2.0
"""Without any news the connection counts as dead and is made anew."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_REPORT_SECONDS = 1.0
_log = structlog.get_logger("llmrouter.gateway.watching")


class CacheWatch:
    """Two tasks beside the requests, from `start` to `close`.

    Args:
        cache: The cache service.
        near: Told what becomes unusable.
        savings: What was spared; sent and emptied every second.
    """

    def __init__(self, cache: WatchedCache, near: NearCache, savings: SavingsTable) -> None:
        self._cache = cache
        self._near = near
        self._savings = savings
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow."""
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._report())]

    async def close(self) -> None:
        """Tell what is untold and stop; nothing is served from here afterwards."""
        await self._tell()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._near.lost()

    async def _follow(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                heard = await self._follow_once()
            finally:
                self._near.lost()
            pause = _FIRST_PAUSE if heard else min(_LONGEST_PAUSE, 2 * pause)
            await asyncio.sleep(pause)

    async def _follow_once(self) -> bool:
        """Follow one stream to its end; return whether it told anything."""
        heard = False
        try:
            stream = self._cache.watch(self._near.store_id, self._near.sequence)
            async with closing_stream(stream) as messages:
                while (news := await _next(messages)) is not None:
                    self._near.hear(news)
                    heard = True
        except (RouterError, TimeoutError) as error:
            _log.debug("invalidations are not heard", error=str(error))
        return heard

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            await self._tell()

    async def _tell(self) -> None:
        if not self._near.session:
            return
        rows = self._savings.drain()
        try:
            await self._cache.report(self._near.session, self._near.counts(), rows)
        except RouterError as error:
            _log.debug("savings are not told", error=error.message)
            for saved, spared in rows:
                self._savings.add(saved, spared)


async def _next(messages: AsyncIterator[News]) -> News | None:
    async with asyncio.timeout(_SILENCE_SECONDS):
        return await anext(messages, None)
