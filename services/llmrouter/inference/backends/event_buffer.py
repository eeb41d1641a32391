"""Between the engine, which never waits, and a consumer, who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendEvent, BackendFinished, TokenDelta

__all__ = ["EventBuffer"]


class EventBuffer:
    """Holds the events of one sequence until its consumer takes them.

    While the consumer lags, deltas merge into one, so that memory is bounded by the text alone.
    Used from one event loop.
    """

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` bytes of text."""
        self._limit = limit
        self._parts: list[str] = []
        self._bytes = 0
        self._tokens = 0
        self._end: BackendFinished | RouterError | None = None
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the last event has been put in."""
        return self._end is not None

    def put(self, delta: TokenDelta) -> bool:
        """Add text; False when it no longer fits, which ends the sequence as SLOW_READER."""
        if self.ended:
            return True
        size = self._bytes + len(delta.text.encode())
        if size > self._limit:
            message = f"the reader is more than {self._limit} bytes of text behind"
            self.end(RouterError(Reason.SLOW_READER, message))
            return False
        self._parts.append(delta.text)
        self._bytes = size
        self._tokens += delta.tokens
        self._news.set()
        return True

    def end(self, last: BackendFinished | RouterError) -> None:
        """Put the last event in; what comes after is ignored."""
        if self._end is None:
            self._end = last
            self._news.set()

    async def events(self) -> AsyncIterator[BackendEvent]:
        """Yield what has been put in, the last event last.

        Raises:
            RouterError: The sequence ended with it.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            if self._parts:
                yield self._take()
            if self._end is None or self._parts:
                continue
            if isinstance(self._end, RouterError):
                raise self._end
            yield self._end
            return

    def _take(self) -> TokenDelta:
        delta = TokenDelta("".join(self._parts), self._tokens)
        self._parts.clear()
        self._bytes = self._tokens = 0
        return delta
