"""A kept answer as the events that stream it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llmrouter.common.generation import (
    CacheLevel,
    CacheStatus,
    Finished,
    GenerationEvent,
    RequestContext,
    Started,
)
from llmrouter.gateway.answers import Answer
from llmrouter.gateway.plan import PlannedRequest

__all__ = ["replay"]


async def replay(
    answer: Answer, level: CacheLevel, planned: PlannedRequest, context: RequestContext
) -> AsyncIterator[GenerationEvent]:
    """Give the answer as a stream, with the usage and the timings of its generation."""
    yield Started(
        context.request_id,
        answer.model,
        answer.version,
        f"the answer comes from the cache; {answer.model} gave it to the same request before",
        CacheStatus.HIT,
        planned.plan.id,
        level,
    )
    for event in answer.replay():
        yield event
    yield Finished(answer.usage, answer.timings)
