"""Invalidations: noted, made durable, and told to every gateway that watches."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from llmrouter.cache.disk_tier import DiskTier
from llmrouter.cache.store_facts import StoreFacts
from llmrouter.common.invalidation import Watermarks

__all__ = ["HEARTBEAT_SECONDS", "Invalidations", "News"]

HEARTBEAT_SECONDS = 0.25
_MOST_UNREAD = 1_024
"""News that a watcher may be behind; past it its stream ends, and it comes again."""
_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class News:
    """What a watcher is told at once."""

    sequence: int
    floor: int
    marks: tuple[tuple[bytes, int], ...] = ()
    more: bool = False
    """Whether the next goes on with what happened before."""


class Invalidations:
    """Watermarks of one store, and the sessions of those who watch them."""

    def __init__(self, facts: StoreFacts, disk: DiskTier | None) -> None:
        """Begin with what the store knows.

        Args:
            facts: Its identity, floor and marks.
            disk: What makes them durable; None keeps them as long as the answers, in memory.
        """
        self.store_id = facts.id
        self.sequence = facts.sequence
        self.count = 0
        self.marks = Watermarks(facts.floor)
        for label, sequence in facts.marks:
            self.marks.mark(label, sequence)
        self._disk = disk
        self._watchers: dict[str, asyncio.Queue[News]] = {}

    def living(self, labels: Sequence[bytes], as_of: int) -> bool:
        """Return whether an answer may be served."""
        return self.marks.living(labels, as_of)

    async def invalidate(self, label: bytes) -> int:
        """Make all answers with a label unusable; returns their mark once it is durable.

        Raises:
            RouterError: STORE_FAILED when it could not be made durable. It holds all the same until
                the service ends.
        """
        self.sequence += 1
        self.count += 1
        mark = (label, self.sequence)
        gone = self.marks.mark(*mark)
        self._tell(News(self.sequence, self.marks.floor, (mark,)))
        if self._disk is not None:
            await self._disk.mark((mark,), gone, self.marks.floor)
        return mark[1]

    def watching(self) -> int:
        """Return how many watch."""
        return len(self._watchers)

    def knows(self, session: str) -> bool:
        """Return whether a session is open."""
        return session in self._watchers

    def open_session(self) -> str:
        """Begin to collect news for someone who watches; `watch` hands them over."""
        session = uuid.uuid4().hex
        self._watchers[session] = asyncio.Queue(_MOST_UNREAD)
        return session

    def close_session(self, session: str) -> None:
        """End a session."""
        self._watchers.pop(session, None)

    def close(self) -> None:
        """End every session: those who watch come again elsewhere."""
        self._watchers.clear()

    async def watch(self, session: str, store_id: bytes, after: int) -> AsyncIterator[News]:
        """Tell all since `after`, then what comes; nothing new is told too, as a sign of life.

        Ends when the watcher is too far behind. Another `store_id` than ours tells everything.
        """
        unread = self._watchers[session]
        known = after if store_id == self.store_id else 0
        missed = self.marks.since(known)
        sequence, floor = self.sequence, self.marks.floor
        for at in range(0, max(1, len(missed)), _AT_ONCE):
            more = at + _AT_ONCE < len(missed)
            yield News(sequence, floor, tuple(missed[at : at + _AT_ONCE]), more)
        while session in self._watchers:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    news = await unread.get()
            except TimeoutError:
                news = News(self.sequence, self.marks.floor)
            yield news

    def _tell(self, news: News) -> None:
        for session, unread in list(self._watchers.items()):
            try:
                unread.put_nowait(news)
            except asyncio.QueueFull:
                self.close_session(session)
