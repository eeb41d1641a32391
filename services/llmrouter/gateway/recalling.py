"""Answers at once what was asked in the same way before, without a new plan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from llmrouter.common.answer_key import answer_key, question_key
from llmrouter.common.closing import closing_stream
from llmrouter.common.generation import (
    CacheLevel,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
)
from llmrouter.common.savings import HitKind, SavingsTable
from llmrouter.gateway.answers import Answer
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.near_caching import READS, may_be_shared, spared
from llmrouter.gateway.plan import Candidate
from llmrouter.gateway.replaying import replay
from llmrouter.gateway.sticky import StickyChoice

__all__ = ["Recalling"]


class Recalling:
    """Repeats this process's answer while the model version that gave it still serves.

    The same question, asked with the same wishes of routing, stays with the model that answered it
    anyway; asking the selector again would cost more than everything else.

    Args:
        near: This process's answers.
        sticky: Which model answered a question before.
        serves: Whether a version of a model serves now.
        savings: What hits spare is counted here.
        following: Answers what is not here.
    """

    def __init__(
        self,
        near: NearCache,
        sticky: StickyChoice,
        serves: Callable[[str, str], bool],
        savings: SavingsTable,
        following: Generator,
    ) -> None:
        self._near = near
        self._sticky = sticky
        self._serves = serves
        self._savings = savings
        self._following = following

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Repeat the answer kept here, or pass on what others answer."""
        recalled = self._recall(request, context)
        if recalled is not None:
            answer, candidate = recalled
            self._savings.add(
                *spared(answer, candidate.cost, CacheLevel.GATEWAY, HitKind.EXACT, context)
            )
            for event in replay(answer, CacheLevel.GATEWAY, "", context):
                yield event
            return
        async with closing_stream(self._following.generate(request, context)) as events:
            async for event in events:
                yield event

    def _recall(
        self, request: GenerationRequest, context: RequestContext
    ) -> tuple[Answer, Candidate] | None:
        if not (self._near.hears and request.cache.mode in READS and may_be_shared(request)):
            return None
        question = question_key(request, context.tenant)
        candidate = self._sticky.recall(question, request.routing)
        if candidate is None or not self._serves(candidate.model, candidate.version):
            return None
        key = answer_key(question, candidate.model, candidate.version)
        answer = self._near.get(context.tenant, key)
        return None if answer is None else (answer, candidate)
