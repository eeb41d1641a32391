"""Between the engine, which never waits, and a consumer, who may."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import TokenLogprob
from llmrouter.inference.backends.base import BackendEvent, BackendFinished, TokenDelta

__all__ = ["EventBuffer"]

_LOGPROB_BYTES = 8
"""What the log probability of one token counts."""
_LOGPROB_MEMORY = 160
"""What it takes in memory."""
_TOKEN_MEMORY = 4
_PIECES = 64
"""Texts that wait side by side at most: an object for each takes more than most of them say."""


class EventBuffer:
    """Holds the events of one request until its consumer takes them.

    While the consumer lags, the deltas of a choice merge into one, as they come, so that memory is
    bounded by what they say alone. Used from one event loop.

    Args:
        limit: Bytes of each of the choices to hold at most, on average.
        choices: How many there are.
        hold: Where the sequence can be taken off its slot: told True once what waits takes a
            quarter of that in memory and nobody took any of it for `patience`, or what counts of
            the limit is an eighth; and False once nothing waits. Without, more than the limit ends
            the request as SLOW_READER.
        patience: Seconds that a reader has to take something. Steps come in bursts, and all at once
            to a loop that was busy elsewhere: that says nothing of the reader.
    """

    def __init__(
        self,
        limit: int,
        choices: int = 1,
        hold: Callable[[bool], None] | None = None,
        patience: float = 0.05,
    ) -> None:
        self._limit = limit * choices
        self._hold = hold
        self._patience = patience
        self._held = self._looks = False
        self._takes = 0
        self._pending: dict[int, TokenDelta | _Merged] = {}
        self._bytes = self._memory = 0
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
        more, taken = _weight(delta)
        size, memory = self._bytes + more, self._memory + taken
        # What comes until the sequence is taken off its slot is little.
        if memory > self._limit // 4 and self._hold is not None and not self._looks:
            self._looks = True
            loop = asyncio.get_running_loop()
            loop.call_later(self._patience, self._look, self._hold, self._takes)
        if size > self._limit // 8 and self._hold is not None and not self._held:
            self._held = True
            self._hold(True)
        if size > self._limit and self._hold is None:
            message = f"the reader is more than {self._limit} bytes of text behind"
            self.end(RouterError(Reason.SLOW_READER, message))
            return False
        before = self._pending.get(delta.choice)
        if before is None:
            self._pending[delta.choice] = delta
        else:
            merged = before if isinstance(before, _Merged) else _Merged(before)
            merged.add(delta)
            self._pending[delta.choice] = merged
        self._bytes, self._memory = size, memory
        self._news.set()
        return True

    def _look(self, hold: Callable[[bool], None], takes: int) -> None:
        """Have the sequence taken off its slot if nothing was taken in the meantime."""
        self._looks = False
        behind = self._takes == takes and self._memory > self._limit // 4
        if behind and not self._held and not self.ended:
            self._held = True
            hold(True)

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
        waiting = self._pending.pop(choice)
        self._takes += 1
        delta = waiting if isinstance(waiting, TokenDelta) else waiting.delta(choice)
        less, freed = _weight(delta)
        self._bytes -= less
        self._memory -= freed
        if self._held and self._hold is not None and not self._pending:
            self._held = False
            self._hold(False)
        return delta


class _Merged:
    """Deltas of one choice in little more memory than what they say."""

    __slots__ = ("_logprobs", "_texts", "_token_ids", "_tokens")

    def __init__(self, first: TokenDelta) -> None:
        self._texts: list[str] = []
        self._tokens = 0
        self._token_ids = array("I")
        self._logprobs: list[TokenLogprob] = []
        self.add(first)

    def add(self, delta: TokenDelta) -> None:
        """Take in the next one."""
        self._texts.append(delta.text)
        if len(self._texts) >= _PIECES:
            self._texts = ["".join(self._texts)]
        self._tokens += delta.tokens
        self._token_ids.extend(delta.token_ids)
        self._logprobs += delta.logprobs

    def delta(self, choice: int) -> TokenDelta:
        """Return all of it as one."""
        told = tuple(self._logprobs), tuple(self._token_ids)
        return TokenDelta("".join(self._texts), self._tokens, choice, *told)


def _weight(delta: TokenDelta) -> tuple[int, int]:
    """Return what a delta counts of the limit, and what it takes in memory."""
    text = len(delta.text.encode())
    memory = text + _TOKEN_MEMORY * len(delta.token_ids)
    if not delta.logprobs:
        return text, memory
    told = sum(1 + len(one.top) for one in delta.logprobs)
    return text + _LOGPROB_BYTES * told, memory + _LOGPROB_MEMORY * told
