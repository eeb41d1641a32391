"""Ends a request whose deadline has passed, whoever is slow behind this link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
)

__all__ = ["Deadline"]


class Deadline:
    """Bounds each wait for the next event by the request's deadline.

    A timeout is never held open across a `yield`: there it would cancel the reader instead.
    """

    def __init__(self, following: Generator) -> None:
        self._following = following

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on.

        Raises:
            RouterError: DEADLINE_EXCEEDED once the deadline has passed.
        """
        alarm = _Alarm(context.remaining())
        try:
            async with closing_stream(self._following.generate(request, context)) as events:
                while True:
                    event = await alarm.next(events)
                    if event is None:
                        return
                    yield event
        finally:
            alarm.off()


class _Alarm:
    """One timer for all waits of a request; between them it only notes that it rang."""

    __slots__ = ("_rang", "_timer", "_waiting")

    def __init__(self, seconds: float | None) -> None:
        self._rang = False
        self._waiting: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    async def next(self, events: AsyncIterator[GenerationEvent]) -> GenerationEvent | None:
        """Return the next event; None at the end.

        Raises:
            RouterError: DEADLINE_EXCEEDED.
        """
        self._check()
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        self._waiting = task
        try:
            return await anext(events, None)
        except asyncio.CancelledError:
            # As `asyncio.timeout`: who else has cancelled it meanwhile goes first.
            if self._rang and task is not None and task.uncancel() <= before:
                raise _late() from None
            raise
        finally:
            self._waiting = None

    def _check(self) -> None:
        if self._rang:
            raise _late()

    def off(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._rang = True
        if self._waiting is not None:
            self._waiting.cancel()


def _late() -> RouterError:
    message = "the request's deadline passed before its answer was complete"
    return RouterError(Reason.DEADLINE_EXCEEDED, message)
