"""A kept answer as the events that stream it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from llmrouter.common.generation import (
    CacheLevel,
    CacheStatus,
    Finished,
    GenerationEvent,
    RequestContext,
    Started,
)
from llmrouter.gateway.answers import Answer

__all__ = ["replay", "replayed"]


def replay(
    answer: Answer, level: CacheLevel, plan_id: str, context: RequestContext
) -> Iterator[GenerationEvent]:
    """Give the answer as a stream, with the usage and the timings of its generation."""
    yield Started(
        context.request_id,
        answer.model,
        answer.version,
        f"the answer comes from the cache; {answer.model} gave it to the same request before",
        CacheStatus.HIT,
        plan_id,
        answer.usage.prompt_tokens,
        level,
    )
    yield from answer.replay()
    yield Finished(answer.usage, answer.timings)


async def replayed(
    answer: Answer, level: CacheLevel, plan_id: str, context: RequestContext
) -> AsyncIterator[GenerationEvent]:
    """Give the same as a link's stream."""
    for event in replay(answer, level, plan_id, context):
        yield event
