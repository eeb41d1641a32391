"""Streams kept answers no faster than a caller wishes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import invalid
from llmrouter.common.generation import (
    CacheWishes,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    Started,
)
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.gateway.pace import PartedAnswer, Schedule, schedule

__all__ = ["Pacing", "check_unpaced"]

_MIN_PAUSE = 0.01
"""Seconds between two parts at least: what is due sooner comes with the next."""


class Pacing:
    """Gives the parts of a kept answer when they are due; what is generated passes as it comes.

    Whoever reads slowly gets all that has become due meanwhile in one part. Deadlines, and callers
    that leave, end the wait.

    Args:
        following: Answers.
        clock: Seconds; never goes backwards.
        sleep: Waits so many of them.
    """

    def __init__(
        self,
        following: Generator,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._following, self._clock, self._sleep = following, clock, sleep

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on, those of a kept answer at the pace that the request wishes."""
        pace = request.cache.pace
        if pace is None:
            return self._following.generate(request, context)
        return self._paced(pace, request, context)

    async def _paced(
        self, pace: ReplayPace, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        began, remaining = self._clock(), context.remaining()
        kept: list[GenerationEvent] | None = None
        async with closing_stream(self._following.generate(request, context)) as events:
            async for event in events:
                if isinstance(event, Started) and event.cached is not None:
                    kept = []
                    yield event
                elif kept is None:
                    yield event
                else:
                    kept.append(event)  # nothing of it is waited for: it was kept whole
        finished = kept[-1] if kept else None
        if kept and isinstance(finished, Finished):
            answer = PartedAnswer(kept)
            plan = schedule(pace, finished, answer.choices, remaining)
            async with closing_stream(self._parts(answer, plan, began)) as parts:
                async for part in parts:
                    yield part
            yield finished

    async def _parts(
        self, answer: PartedAnswer, plan: Schedule, began: float
    ) -> AsyncIterator[GenerationEvent]:
        given = 0
        while given < plan.steps:
            wait = plan.when(given + 1) - (self._clock() - began)
            if wait > 0:
                await self._sleep(wait if not given else max(wait, _MIN_PAUSE))
            given = max(given + 1, plan.due(self._clock() - began))
            for event in answer.part(given / plan.steps):
                yield event


def check_unpaced(wishes: CacheWishes) -> None:
    """Refuse a pace for an answer in one piece.

    Raises:
        RouterError: INVALID_ARGUMENT.
    """
    if wishes.pace is not None:
        told = "is given, and the answer comes in one piece; leave it out, or ask for a stream"
        raise invalid("cache.pace", told)
