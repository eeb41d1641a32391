"""Between the engine, which never waits, and a consumer, who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendEvent, BackendFinished, TokenDelta

__all__ = ["EventBuffer"]

_LOGPROB_BYTES = 8
"""What the log probability of one token counts."""


class EventBuffer:
    """Holds the events of one request until its consumer takes them.

    While the consumer lags, the deltas of a choice merge into one, so that memory is bounded by
    what they say alone. Used from one event loop.

    Args:
        limit: Bytes of each of the choices to hold at most, on average.
        choices: How many there are.
        hold: Where the sequence can be taken off its slot: told True once half of that waits, and
            False once nothing does. Without, more than the limit ends the request as SLOW_READER.
    """

    def __init__(
        self, limit: int, choices: int = 1, hold: Callable[[bool], None] | None = None
    ) -> None:
        self._limit = limit * choices
        self._hold = hold
        self._held = False
        self._pending: dict[int, list[TokenDelta]] = {}
        self._bytes = 0
        self._ends: list[BackendFinished] = []
        self._running = choices
        self._failure: RouterError | None = None
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the last event has been put in."""
        return self._failure is not None or self._running == 0

    def put(self, delta: TokenDelta) -> bool:
        """Add text; False when it no longer fits, which ends the request as SLOW_READER."""
        if self.ended:
            return True
        size = self._bytes + _size(delta)
        if size > self._limit // 2 and self._hold is not None and not self._held:
            self._held = True
            self._hold(True)
        # What comes while the sequence is being taken off its slot is little.
        if size > self._limit and self._hold is None:
            message = f"the reader is more than {self._limit} bytes of text behind"
            self.end(RouterError(Reason.SLOW_READER, message))
            return False
        self._pending.setdefault(delta.choice, []).append(delta)
        self._bytes = size
        self._news.set()
        return True

    def end(self, last: BackendFinished | RouterError) -> None:
        """Put the last event of a choice in; an error ends all. What comes after is ignored."""
        if self.ended:
            return
        if isinstance(last, RouterError):
            self._failure = last
        else:
            self._ends.append(last)
            self._running -= 1
        self._news.set()

    async def events(self) -> AsyncIterator[BackendEvent]:
        """Yield what has been put in; the end of a choice comes after all of its text.

        Raises:
            RouterError: The request ended with it.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            while self._pending or self._ends:
                yield self._take() if self._pending else self._ends.pop(0)
            if self._failure is not None:
                raise self._failure
            if self._running == 0:
                return

    def _take(self) -> TokenDelta:
        """Return what has been said of the choice that has waited longest, as one delta."""
        choice = next(iter(self._pending))
        deltas = self._pending.pop(choice)
        self._bytes -= sum(map(_size, deltas))
        if self._held and self._hold is not None and not self._pending:
            self._held = False
            self._hold(False)
        return TokenDelta(
            "".join(delta.text for delta in deltas),
            sum(delta.tokens for delta in deltas),
            choice,
            tuple(one for delta in deltas for one in delta.logprobs),
            tuple(one for delta in deltas for one in delta.token_ids),
        )


def _size(delta: TokenDelta) -> int:
    told = sum(1 + len(one.top) for one in delta.logprobs)
    return len(delta.text.encode()) + _LOGPROB_BYTES * told
