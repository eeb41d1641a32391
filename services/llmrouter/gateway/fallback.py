"""The last resort: an answer that has expired, when no model can give another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from llmrouter.common.answer_key import answer_key, question_key
from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheStatus,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    Started,
)
from llmrouter.common.savings import HitKind, SavingsTable
from llmrouter.gateway.answer_cache import AnswerCache, Found
from llmrouter.gateway.near_caching import READS, may_be_shared, spared
from llmrouter.gateway.replaying import replay
from llmrouter.gateway.sticky import StickyChoice, asked_key

__all__ = ["Fallback"]

_NOBODY_ANSWERS = frozenset(
    {
        Reason.NO_CANDIDATE,
        Reason.MODEL_UNAVAILABLE,
        Reason.QUEUE_FULL,
        Reason.MEMORY_PRESSURE,
        Reason.UPSTREAM_UNAVAILABLE,
        Reason.DRAINING,
        Reason.GENERATION_FAILED,
    }
)
"""Failures of models and services, not of the request."""
_log = structlog.get_logger("llmrouter.gateway.fallback")


class Fallback:
    """Serves an expired answer in place of a failure, where the caller allows it.

    Only before anything was sent, and marked as degraded.

    Args:
        cache: The cache service, which keeps expired answers a while.
        sticky: Which model a question went to before: there may be no plan any more. Where nobody
            remembers, as after a restart, the cache service knows who answered it last.
        savings: What hits spare is counted here.
        following: Answers on better days.
    """

    def __init__(
        self,
        cache: AnswerCache,
        sticky: StickyChoice,
        savings: SavingsTable,
        following: Generator,
    ) -> None:
        self._cache = cache
        self._sticky = sticky
        self._savings = savings
        self._following = following

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Return what answers on better days, with an expired answer behind it where allowed."""
        if not _allowed(request):
            return self._following.generate(request, context)
        return self._backed(request, context)

    async def _backed(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on; before the first one a failure may give way to an expired answer."""
        sent = False
        try:
            async with closing_stream(self._following.generate(request, context)) as events:
                async for event in events:
                    sent = True
                    yield event
        except RouterError as error:
            if sent or error.reason not in _NOBODY_ANSWERS:
                raise
            known = await self._find(request, context)
            if known is None:
                raise
            (found, cost), failure = known, error
        else:
            return
        kind = HitKind.STALE
        saved = spared(found.answer, cost, found.level, kind, context)
        self._savings.add(*saved)
        for event in replay(found.answer, found.level, "", context):
            yield _degraded(event, failure)

    async def _find(
        self, request: GenerationRequest, context: RequestContext
    ) -> tuple[Found, float] | None:
        """Return the expired answer and what it would cost anew, where that is known."""
        question = question_key(request, context.tenant, context.models)
        candidate, key = self._sticky.recall(question, request.routing), b""
        if candidate is not None:
            key = answer_key(question, candidate.model, candidate.version)
        try:
            found = await self._cache.stale(key, asked_key(question, request.routing), context)
        except RouterError as error:
            _log.warning("no stale answer", request_id=context.request_id, error=error.message)
            return None
        if found is None or not found.answer.choices:
            return None
        if candidate is None or candidate.model != found.answer.model:
            return found, 0.0
        return found, candidate.cost


def _allowed(request: GenerationRequest) -> bool:
    wishes = request.cache
    return wishes.stale and wishes.mode in READS and may_be_shared(request)


def _degraded(event: GenerationEvent, failure: RouterError) -> GenerationEvent:
    if not isinstance(event, Started):
        return event
    why = failure.reason.value
    reason = f"no model could answer ({why}); {event.model} gave this answer before, it may be old"
    return replace(event, cache=CacheStatus.STALE, reason=reason)
