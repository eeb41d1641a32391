"""Makes the key of a planned request, answers it from this process, and counts what is spared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from llmrouter.common.answer_key import answer_key, question_key
from llmrouter.common.closing import closing_stream
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Started,
)
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.savings import HitKind, Saved, SavingsTable, Spared
from llmrouter.gateway.answers import Answer
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.plan import PlannedGenerator, PlannedRequest
from llmrouter.gateway.replaying import replayed
from llmrouter.gateway.sticky import StickyChoice

__all__ = ["READS", "NearCaching", "may_be_shared", "spared"]

READS = frozenset({CacheMode.READ, CacheMode.READ_WRITE})
_KINDS = {
    CacheStatus.HIT: HitKind.EXACT,
    CacheStatus.JOINED: HitKind.JOINED,
    CacheStatus.SIMILAR: HitKind.SIMILAR,
}


def may_be_shared(request: GenerationRequest) -> bool:
    """Return whether the answer may serve others: the cache is not off, nor is it left to chance.

    Unless the caller asks for that, too.
    """
    wishes = request.cache
    return wishes.mode is not CacheMode.OFF and (request.sampling.deterministic or wishes.drawn)


class NearCaching:
    """Answers from the gateway's own memory.

    Requests that may not be shared pass without a key, and no later link shares them.

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

    def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Replay the answer kept here, or return what others answer."""
        # What several models answer together was judged for this request alone.
        if planned.plan.mode is PlanMode.FIRST_OF and may_be_shared(planned.request):
            planned = self._keyed(planned, context)
        if not planned.key:
            return self._following.generate(planned, context)
        answer = None
        if planned.request.cache.mode in READS:
            answer = self._near.get(context.tenant, planned.key)
        if answer is None:
            return self._counted(planned, context)
        cost = planned.plan.candidates[0].cost
        self._savings.add(*spared(answer, cost, CacheLevel.GATEWAY, HitKind.EXACT, context))
        return replayed(answer, CacheLevel.GATEWAY, planned.plan.id, context)

    async def _counted(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        async with closing_stream(self._following.generate(planned, context)) as events:
            started: Started | None = None
            async for event in events:
                if isinstance(event, Started):
                    started = event
                elif isinstance(event, Finished) and started is not None:
                    self._count(started, event, planned, context)
                yield event

    def _keyed(self, planned: PlannedRequest, context: RequestContext) -> PlannedRequest:
        question = question_key(planned.request, context.tenant, context.models)
        planned = self._sticky.prefer(replace(planned, question=question))
        first = planned.plan.candidates[0]
        routing = planned.request.routing
        if planned.request.cache.stale and self._sticky.recall(question, routing) is None:
            # So that an expired answer can be looked for once there is no plan any more.
            self._sticky.remember(planned, first)
        return replace(planned, key=answer_key(question, first.model, first.version))

    def _count(
        self, started: Started, finished: Finished, planned: PlannedRequest, context: RequestContext
    ) -> None:
        kind = _KINDS.get(started.cache)
        if kind is None:
            return
        costs = (one.cost for one in planned.plan.candidates if one.model == started.model)
        answer = Answer(started.model, started.version, (), finished.usage, finished.timings)
        self._savings.add(*spared(answer, next(costs, 0.0), started.cached, kind, context))


def spared(
    answer: Answer, cost: float, level: CacheLevel | None, kind: HitKind, context: RequestContext
) -> tuple[Saved, Spared]:
    """Return what one hit spared, for a table of savings."""
    usage = answer.usage
    return Saved(context.tenant, answer.model, level, kind), Spared(
        1, usage.prompt_tokens, usage.completion_tokens, cost, answer.timings.total
    )
