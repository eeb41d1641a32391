"""The first link of the cache: makes the key, answers from this process, counts what is spared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from llmrouter.common.answer_key import answer_key, question_digest
from llmrouter.common.closing import closing_stream
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    Finished,
    GenerationEvent,
    RequestContext,
    Started,
)
from llmrouter.common.savings import HitKind, Saved, SavingsTable, Spared
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.plan import PlannedGenerator, PlannedRequest
from llmrouter.gateway.replaying import replay
from llmrouter.gateway.sticky import StickyChoice

__all__ = ["READS", "NearCaching"]

READS = frozenset({CacheMode.READ, CacheMode.READ_WRITE})
_KINDS = {CacheStatus.HIT: HitKind.EXACT, CacheStatus.JOINED: HitKind.JOINED}


class NearCaching:
    """Answers from the gateway's own memory.

    Requests that may not be shared (the cache is off, or the answer is left to chance and nobody
    asked for that) pass without a key, and no later link shares them.

    Args:
        near: This process's answers.
        sticky: Which model answered a question before.
        savings: What hits spare is counted here.
        following: Answers what is not here.
    """

    def __init__(
        self,
        near: NearCache,
        sticky: StickyChoice,
        savings: SavingsTable,
        following: PlannedGenerator,
    ) -> None:
        self._near = near
        self._sticky = sticky
        self._savings = savings
        self._following = following

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Replay the answer kept here, or pass on what others answer."""
        wishes, sampling = planned.request.cache, planned.request.sampling
        if wishes.mode is not CacheMode.OFF and (sampling.deterministic or wishes.drawn):
            planned = self._keyed(planned, context)
        stream = self._here(planned, context) or self._following.generate(planned, context)
        started: Started | None = None
        async with closing_stream(stream) as events:
            async for event in events:
                if isinstance(event, Started):
                    started = event
                elif isinstance(event, Finished) and started is not None:
                    self._count(started, event, planned, context)
                yield event

    def _here(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent] | None:
        """Return the stream of the answer kept here; None when there is none."""
        if not planned.key or planned.request.cache.mode not in READS:
            return None
        answer = self._near.get(context.tenant, planned.key)
        return None if answer is None else replay(answer, CacheLevel.GATEWAY, planned, context)

    def _keyed(self, planned: PlannedRequest, context: RequestContext) -> PlannedRequest:
        question = question_digest(planned.request, context.tenant)
        planned = self._sticky.prefer(replace(planned, question=question))
        first = planned.plan.candidates[0]
        return replace(planned, key=answer_key(question, first.model, first.version))

    def _count(
        self, started: Started, finished: Finished, planned: PlannedRequest, context: RequestContext
    ) -> None:
        kind = _KINDS.get(started.cache)
        if kind is None:
            return
        costs = (one.cost for one in planned.plan.candidates if one.model == started.model)
        usage = finished.usage
        self._savings.add(
            Saved(context.tenant, started.model, started.cached, kind),
            Spared(
                1,
                usage.prompt_tokens,
                usage.completion_tokens,
                next(costs, 0.0),
                finished.timings.total,
            ),
        )
