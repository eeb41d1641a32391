"""Invalidations: noted, made durable, and told to every gateway that watches."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmrouter.cache.store_facts import StoreFacts
from llmrouter.common.invalidation import Watermarks

__all__ = ["HEARTBEAT_SECONDS", "Invalidations", "MarkKeeper", "News"]

HEARTBEAT_SECONDS = 0.25
_MAX_UNREAD = 1_024
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


class MarkKeeper(Protocol):
    """What makes invalidations durable."""

    async def mark(
        self, marks: Sequence[tuple[bytes, int]], gone: Sequence[bytes], floor: int
    ) -> None:
        """Note labels with their marks, and what gave way to the floor; may raise RouterError."""
        ...


class Invalidations:
    """Watermarks of one store, and the sessions of those who watch them."""

    def __init__(self, facts: StoreFacts, keeper: MarkKeeper | None) -> None:
        """Begin with what the store knows.

        Args:
            facts: Its identity, floor and marks.
            keeper: Makes them durable; None keeps them as long as the answers, in memory.
        """
        self.store_id = facts.id
        self.sequence = facts.sequence
        self.count = 0
        self.marks = Watermarks(facts.floor)
        for label, sequence in facts.marks:
            self.marks.mark(label, sequence)
        self._keeper = keeper
        self._watchers: dict[str, asyncio.Queue[News]] = {}

    def hears(self) -> bool:
        """Whether nothing can have become unusable unheard."""
        return True

    def check_heard(self) -> None:
        """Refuse while nobody knows what is dead: here, never."""

    def living(self, labels: Sequence[bytes], as_of: int) -> bool:
        """Return whether an answer may be served."""
        return self.marks.living(labels, as_of)

    async def invalidate(self, label: bytes) -> int:
        """Make all answers with a label unusable; returns their mark once it is durable.

        Raises:
            RouterError: STORE_FAILED when it could not be made durable. It holds all the same until
                the service ends.
        """
        return await self.invalidate_all((label,))

    async def invalidate_all(self, labels: Sequence[bytes]) -> int:
        """Make all answers with any of some labels unusable, at once; else as `invalidate`.

        Returns the mark of the last.
        """
        marks: list[tuple[bytes, int]] = []
        gone: list[bytes] = []
        for label in labels:
            self.sequence += 1
            marks.append((label, self.sequence))
            gone += self.marks.mark(label, self.sequence)
        self.count += len(marks)
        sequence = self.sequence
        for at in range(0, len(marks), _AT_ONCE):
            part = tuple(marks[at : at + _AT_ONCE])
            self._tell(News(part[-1][1], self.marks.floor, part))
        if self._keeper is not None and marks:
            await self._keeper.mark(marks, gone, self.marks.floor)
        return sequence

    def watching(self) -> int:
        """Return how many watch."""
        return len(self._watchers)

    def knows(self, session: str) -> bool:
        """Return whether a session is open."""
        return session in self._watchers

    def open_session(self) -> str:
        """Begin to collect news for someone who watches; `watch` hands them over."""
        session = uuid.uuid4().hex
        self._watchers[session] = asyncio.Queue(_MAX_UNREAD)
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
        Without being heard ourselves we say nothing: a sign of life says that nothing is missed.
        """
        unread = self._watchers[session]
        while not self.hears():
            if session not in self._watchers:
                return
            await asyncio.sleep(HEARTBEAT_SECONDS)
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
            if self.hears() or news.marks:
                yield news

    def _tell(self, news: News) -> None:
        for session, unread in list(self._watchers.items()):
            try:
                unread.put_nowait(news)
            except asyncio.QueueFull:
                self.close_session(session)
