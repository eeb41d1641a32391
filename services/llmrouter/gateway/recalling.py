"""Answers at once what was asked in the same way before, without a new plan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import structlog

from llmrouter.common.answer_key import answer_key, question_key
from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import (
    CacheLevel,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    RoutingWishes,
)
from llmrouter.common.savings import HitKind, SavingsTable
from llmrouter.gateway.answer_cache import AnswerCache, Found
from llmrouter.gateway.answers import Answer
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.near_caching import READS, may_be_shared, spared
from llmrouter.gateway.plan import Candidate
from llmrouter.gateway.replaying import replayed
from llmrouter.gateway.sticky import StickyChoice

__all__ = ["Recalling"]

_log = structlog.get_logger("llmrouter.gateway.recalling")


class Recalling:
    """Repeats a kept answer while the model version that gave it still serves.

    The same question, asked with the same wishes of routing, stays with the model that answered it
    anyway; asking the selector again would cost more than everything else. What this process does
    not keep any more is looked up in the cache service; what that does not have either takes the
    whole way.

    Args:
        near: This process's answers.
        cache: The cache service, asked while it is heard.
        sticky: Which model answered a question before.
        serves: Whether a version of a model serves now.
        savings: What hits spare is counted here.
        following: Answers what is not kept.
    """

    def __init__(
        self,
        near: NearCache,
        cache: AnswerCache,
        sticky: StickyChoice,
        serves: Callable[[str, str], bool],
        savings: SavingsTable,
        following: Generator,
    ) -> None:
        self._near = near
        self._cache = cache
        self._sticky = sticky
        self._serves = serves
        self._savings = savings
        self._following = following

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Repeat the answer that is kept, or return what others answer."""
        if not (self._near.hears and request.cache.mode in READS and may_be_shared(request)):
            return self._following.generate(request, context)
        question = question_key(request, context.tenant, context.models)
        candidate = self._sticky.recall(question, request.routing)
        if candidate is None or not self._may_repeat(candidate, request.routing):
            return self._following.generate(request, context)
        key = answer_key(question, candidate.model, candidate.version)
        answer = self._near.get(context.tenant, key, ahead=True)
        if answer is None:
            return self._farther(request, context, candidate, key)
        return self._repeated(answer, CacheLevel.GATEWAY, candidate, context)

    def _may_repeat(self, candidate: Candidate, routing: RoutingWishes) -> bool:
        """Whether it serves; what a label or an alias leads to now, only a plan says."""
        _, named, version = (routing.model or "").partition("@")
        if named and version != candidate.version:
            return False
        return self._serves(candidate.model, candidate.version)

    async def _farther(
        self,
        request: GenerationRequest,
        context: RequestContext,
        candidate: Candidate,
        key: bytes,
    ) -> AsyncIterator[GenerationEvent]:
        found = await self._look_up(key, candidate, context)
        if found is None:
            stream = self._following.generate(request, context)
        else:
            stream = self._repeated(found.answer, found.level, candidate, context)
        async with closing_stream(stream) as events:
            async for event in events:
                yield event

    async def _look_up(
        self, key: bytes, candidate: Candidate, context: RequestContext
    ) -> Found | None:
        try:
            known = await self._cache.look_ahead(key, context)
        except RouterError as error:  # whoever asks again on the way tells the caller
            _log.debug("not recalled", request_id=context.request_id, error=error.message)
            return None
        found = known.found
        if found is None or not found.answer.gives(candidate.model, candidate.version):
            return None
        where = context.tenant, key
        self._near.put(*where, found.answer, found.tags, found.remaining, known.sequence)
        return found

    def _repeated(
        self, answer: Answer, level: CacheLevel, candidate: Candidate, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        saved = spared(answer, candidate.cost, level, HitKind.EXACT, context)
        self._savings.add(*saved)
        return replayed(answer, level, "", context)
