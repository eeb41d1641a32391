"""Several requests of one call, answered side by side."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import replace

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    Started,
    Usage,
)
from llmrouter.gateway.answers import AnswerBuilder, Choice

__all__ = ["Placed", "side_by_side", "together", "whole_answers"]

_MAX_WAITING = 64
"""Events that wait for the reader before the models do."""
_LONGEST_ID = 60


Placed = tuple[int, GenerationEvent]
"""An event, and the place of its request."""


async def side_by_side(
    pipeline: Generator, requests: Sequence[GenerationRequest], context: RequestContext
) -> AsyncGenerator[Placed]:
    """Give the events of all requests as they come.

    Raises:
        RouterError: One of them failed; the others are let go.
    """
    streams = [
        _placed(pipeline.generate(request, _part(context, requests, place)), place)
        for place, request in enumerate(requests)
    ]
    joined = streams[0] if len(streams) == 1 else _merged(streams)
    async with contextlib.aclosing(joined) as events:
        async for event in events:
            yield event


async def _placed(stream: AsyncIterator[GenerationEvent], place: int) -> AsyncGenerator[Placed]:
    async with closing_stream(stream) as events:
        async for event in events:
            yield place, event


async def _merged(streams: Sequence[AsyncGenerator[Placed]]) -> AsyncGenerator[Placed]:
    waiting: asyncio.Queue[Placed | Exception | None] = asyncio.Queue(_MAX_WAITING)

    async def follow(stream: AsyncGenerator[Placed]) -> None:
        ended: Exception | None = None
        try:
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    await waiting.put(event)
        except Exception as error:  # noqa: BLE001 - raised again by who reads
            ended = error
        await waiting.put(ended)

    tasks = [asyncio.create_task(follow(stream)) for stream in streams]
    left = len(tasks)
    try:
        while left:
            event = await waiting.get()
            if isinstance(event, Exception):
                raise event
            if event is None:
                left -= 1
            else:
                yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def whole_answers(
    pipeline: Generator, requests: Sequence[GenerationRequest], context: RequestContext
) -> tuple[Started, list[Choice], Finished]:
    """Return how the first request began, the choices of all in order, and their sum.

    Raises:
        RouterError: One of them failed.
    """
    builders = [AnswerBuilder() for _ in requests]
    async with contextlib.aclosing(side_by_side(pipeline, requests, context)) as events:
        async for place, event in events:
            builders[place].add(event)
    begun = [one.started for one in builders if one.started is not None]
    ends = [one.finished for one in builders if one.finished is not None]
    if not len(begun) == len(ends) == len(builders):
        raise RouterError(Reason.INTERNAL, "an answer's stream ended before it was complete")
    return begun[0], [choice for one in builders for choice in one.choices()], together(ends)


def together(ends: Iterable[Finished]) -> Finished:
    """Return the sum of several ends; its timings are those of the first."""
    ends = list(ends)
    usage = Usage(
        sum(one.usage.prompt_tokens for one in ends),
        sum(one.usage.completion_tokens for one in ends),
        sum(one.usage.cached_prompt_tokens for one in ends),
    )
    attempts = tuple(attempt for one in ends for attempt in one.attempts)
    return Finished(usage, ends[0].timings, attempts, math.fsum(one.cost for one in ends))


def _part(
    context: RequestContext, requests: Sequence[GenerationRequest], place: int
) -> RequestContext:
    """Return who asks one of the requests; each has an id of its own where there are several."""
    priority = requests[place].priority
    if len(requests) == 1:
        return replace(context, priority=priority)
    identity = f"{context.request_id[:_LONGEST_ID]}.{place}"
    bill = None if context.bill is None else context.bill.beside()
    return replace(context, request_id=identity, priority=priority, bill=bill)
