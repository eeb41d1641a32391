"""Invalidations of a store that several services share: its order is theirs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from llmrouter.cache.invalidations import Invalidations, News
from llmrouter.cache.shared_store import SharedNews, SharedStore
from llmrouter.cache.store_facts import StoreFacts
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.invalidation import Watermarks

__all__ = ["SharedInvalidations"]

_HEARD_SECONDS = 0.25
"""How long the last look counts. Gateways count news for 750 ms: nothing that another service
invalidated is served for longer than a second."""


class SharedInvalidations(Invalidations):
    """Learns by looking, ten times a second, and tells gateways in the store's order.

    While the store has not been heard of, nothing may be served: no one knows what is dead.
    """

    def __init__(self, store: SharedStore, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without news.

        Args:
            store: The store.
            clock: Seconds; never goes backwards.
        """
        super().__init__(StoreFacts(b"", 0), None)
        self._store = store
        self._clock = clock
        self._heard_until = 0.0
        self._looking = asyncio.Lock()

    def hears(self) -> bool:
        """Whether the last look was a moment ago."""
        return self._clock() < self._heard_until

    def check_heard(self) -> None:
        """Refuse while nobody knows what is dead.

        Raises:
            RouterError: STORE_FAILED.
        """
        if not self.hears():
            message = "the shared store is away; no answers can be served or kept"
            raise RouterError(Reason.STORE_FAILED, message, retry_after=1.0)

    async def invalidate_all(self, labels: Sequence[bytes]) -> int:
        """Make all answers with any of some labels unusable, in every service within a second.

        Raises:
            RouterError: STORE_FAILED when the store did not take it; nothing has changed.
        """
        sequence = await self._store.invalidate(labels)
        await self.look()
        return sequence

    async def look(self) -> SharedNews:
        """Take in what is new.

        Raises:
            RouterError: STORE_FAILED.
        """
        async with self._looking:
            asked = self._clock()
            news = await self._store.news(self.sequence)
            if news.id == self.store_id and news.sequence < self.sequence:
                # Marks were lost, as when a replica took over that had not seen them yet.
                news = await self._store.news(0, renouncing=news.id)
            self._take_in(news)
            while news.more:
                news = await self._store.news(self.sequence)
                self._take_in(news)
            self._heard_until = asked + _HEARD_SECONDS
            return news

    def _take_in(self, news: SharedNews) -> None:
        if news.id != self.store_id:
            self.store_id = news.id
            self.marks = Watermarks(news.floor)
            self.close()  # gateways come again and learn which store this is
        self.marks.raise_floor(news.floor)
        for label, sequence in news.marks:
            self.marks.mark(label, sequence)
        self.count += len(news.marks)
        self.sequence = news.marks[-1][1] if news.more else max(news.sequence, news.floor)
        if news.marks:
            self._tell(News(self.sequence, self.marks.floor, news.marks))
