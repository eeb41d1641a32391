"""One generation that several requests follow: each gets all of it, from the first event on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Delta, Finished, GenerationEvent
from llmrouter.gateway.answers import logprob_bytes
from llmrouter.gateway.near_cache import Moment

__all__ = ["Flight"]

_AHEAD_BYTES = 64 << 10
"""How far the generation runs ahead of the fastest reader before it waits."""
_KEPT_BYTES = 4 << 20
"""How much is kept for late and slow readers; past it nobody joins any more."""
_EVENT_BYTES = 64


class _Reader:
    """Where one request is in the flight."""

    __slots__ = ("bytes", "index", "woken")

    def __init__(self) -> None:
        self.index = 0
        self.bytes = 0
        self.woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


class Flight:
    """A task of its own, cancelled when the last reader leaves.

    Args:
        source: What is generated.
        deadline: Until when, on `time.monotonic`'s clock; None when there is no end.
        began: Which invalidations were known when it began.
    """

    def __init__(
        self, source: AsyncIterator[GenerationEvent], deadline: float | None, began: Moment
    ) -> None:
        self.deadline = deadline
        self.began = began
        self._source = source
        self._events: list[GenerationEvent] = []
        self._dropped = 0
        self._bytes = 0
        self._kept_bytes = 0
        self._furthest = 0
        self._readers: set[_Reader] = set()
        self._caught_up: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._over = False
        self._complete = False
        self.task = asyncio.create_task(self._fly())

    @property
    def open(self) -> bool:
        """Whether one more can follow it from its beginning."""
        return not (self._dropped or self._error or (self._over and not self._complete))

    async def follow(self) -> AsyncIterator[GenerationEvent]:
        """Give all events so far, then each as it comes.

        Raises:
            RouterError: The generation failed, or this reader fell too far behind.
        """
        reader = _Reader()
        self._readers.add(reader)
        try:
            while True:
                if reader.index < self._dropped:
                    message = "the client reads too slowly; the answer is too far ahead of it"
                    raise RouterError(Reason.SLOW_READER, message)
                if reader.index < self._dropped + len(self._events):
                    event = self._events[reader.index - self._dropped]
                    self._advance(reader, event)
                    yield event
                    if isinstance(event, Finished):
                        return
                elif self._over:
                    self._raise()
                    return
                else:
                    reader.woken = asyncio.get_running_loop().create_future()
                    await reader.woken
        finally:
            await self._leave(reader)

    async def _fly(self) -> None:
        try:
            async with closing_stream(self._source) as events:
                async for event in events:
                    self._add(event)
                    await self._wait_for_readers()
        except Exception as error:  # noqa: BLE001 - raised again by every reader
            self._error = error
        finally:
            self._over = True
            self._wake()

    def _add(self, event: GenerationEvent) -> None:
        size = _size(event)
        self._events.append(event)
        self._bytes += size
        self._kept_bytes += size
        self._complete = self._complete or isinstance(event, Finished)
        if self._bytes > _KEPT_BYTES:
            self._drop()
        self._wake()

    def _drop(self) -> None:
        """Let go of what the slowest reader has read, and of the eldest beyond what is kept.

        Never of what lies before the fastest: that is little, but for one event, into which an
        engine may have put all that it said while nobody took it.
        """
        places = [reader.index for reader in self._readers]
        slowest = min(places, default=0)
        fastest = max(places, default=self._dropped + len(self._events))
        gone = 0
        for event in self._events:
            place = self._dropped + gone
            if place >= fastest or (self._kept_bytes <= _KEPT_BYTES and place >= slowest):
                break
            self._kept_bytes -= _size(event)
            gone += 1
        del self._events[:gone]
        self._dropped += gone

    async def _wait_for_readers(self) -> None:
        while self._bytes - self._furthest > _AHEAD_BYTES and not self._complete:
            self._caught_up = asyncio.get_running_loop().create_future()
            await self._caught_up

    def _advance(self, reader: _Reader, event: GenerationEvent) -> None:
        reader.index += 1
        reader.bytes += _size(event)
        if reader.bytes > self._furthest:
            self._furthest = reader.bytes
            if self._caught_up is not None and not self._caught_up.done():
                self._caught_up.set_result(None)

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    async def _leave(self, reader: _Reader) -> None:
        self._readers.discard(reader)
        if not self._readers and not self._complete and not self._over:
            self._error = RouterError(Reason.CANCELLED, "everyone who asked went away")
            self.task.cancel()
            await asyncio.wait({self.task})

    def _raise(self) -> None:
        if isinstance(self._error, RouterError):
            error = self._error
            # Each reader's own: what one adds to it is not the others'.
            told = RouterError(
                error.reason,
                error.message,
                metadata=error.metadata,
                retry_after=error.retry_after,
                violations=error.violations,
                quotas=error.quotas,
            )
            told.attempts = error.attempts
            raise told
        if self._error is not None:
            raise self._error
        if not self._complete:
            message = "the generation ended before its answer was complete"
            raise RouterError(Reason.INTERNAL, message)


def _size(event: GenerationEvent) -> int:
    if not isinstance(event, Delta):
        return _EVENT_BYTES
    logprobs = logprob_bytes(event.logprobs) if event.logprobs else 0
    calls = sum(len(one.arguments) for one in event.tool_calls)
    return _EVENT_BYTES + len(event.text) + logprobs + calls
