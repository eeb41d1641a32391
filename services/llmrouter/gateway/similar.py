"""Answers a question by the answer to one that means the same, for callers that allow it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from llmrouter.common.answer_key import answer_key, question_key
from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import (
    CacheStatus,
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Role,
    Started,
)
from llmrouter.gateway.answer_cache import Found, SimilarCache, SimilarQuestion
from llmrouter.gateway.caching import WRITES
from llmrouter.gateway.near_caching import READS
from llmrouter.gateway.plan import PlannedGenerator, PlannedRequest
from llmrouter.gateway.question_embedder import Direction, QuestionEmbedder
from llmrouter.gateway.replaying import replay

__all__ = ["Similar", "asked_last"]

_LONGEST_BYTES = 2048
_log = structlog.get_logger("llmrouter.gateway.similar")


def asked_last(request: GenerationRequest) -> tuple[str, GenerationRequest]:
    """Return what is compared, and the request without it: that has to be equal.

    The text is empty where nothing can be compared: it is too long, or no question comes last.
    """
    if not request.messages:
        text, rest = request.prompt, replace(request, prompt="")
    elif request.messages[-1].role is Role.USER:
        last = request.messages[-1]
        text = last.text
        rest = replace(request, messages=(*request.messages[:-1], replace(last, parts=())))
    else:
        return "", request
    return (text if len(text.encode()) <= _LONGEST_BYTES else ""), rest


class Similar:
    """Asks the cache for an answer before one is generated; its failures never fail a request.

    Args:
        cache: The cache service.
        embedder: Gives questions their direction.
        following: Generates.
    """

    def __init__(
        self, cache: SimilarCache, embedder: QuestionEmbedder, following: PlannedGenerator
    ) -> None:
        self._cache = cache
        self._embedder = embedder
        self._following = following

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Replay the answer to a similar question, or pass a new one and let it be found."""
        text, rest = "", planned.request
        if planned.key and planned.request.cache.similar:
            text, rest = asked_last(planned.request)
        if not text.strip():
            async with closing_stream(self._following.generate(planned, context)) as events:
                async for event in events:
                    yield event
            return
        direction = await self._embedder.embed(text, context)
        partition = _partition(rest, planned, direction, context)
        question = SimilarQuestion(partition, text, direction.vector)
        found = await self._find(question, direction.min_similarity, planned, context)
        if found is not None:
            for event in _told(*found, planned, context):
                yield event
            return
        complete = False
        async with closing_stream(self._following.generate(planned, context)) as events:
            async for event in events:
                complete = complete or isinstance(event, Finished)
                yield event
        if complete and planned.request.cache.mode in WRITES:
            await self._add(question, planned, context)

    async def _find(
        self,
        question: SimilarQuestion,
        min_similarity: float,
        planned: PlannedRequest,
        context: RequestContext,
    ) -> tuple[Found, float] | None:
        if planned.request.cache.mode not in READS:
            return None
        try:
            found = await self._cache.find_similar(question, min_similarity, context)
        except RouterError as error:
            _warn("no similar answer was looked for", error, context)
            return None
        first = planned.plan.candidates[0]
        if found is None or not found[0].answer.choices:
            return None
        answer = found[0].answer
        return found if (answer.model, answer.version) == (first.model, first.version) else None

    async def _add(
        self, question: SimilarQuestion, planned: PlannedRequest, context: RequestContext
    ) -> None:
        try:
            await self._cache.add_similar(question, planned.key, context)
        except RouterError as error:
            _warn("a question was not kept", error, context)


def _partition(
    rest: GenerationRequest,
    planned: PlannedRequest,
    direction: Direction,
    context: RequestContext,
) -> bytes:
    first = planned.plan.candidates[0]
    key = answer_key(question_key(rest, context.tenant), first.model, first.version)
    return hashlib.sha256(key + direction.maker.encode()).digest()


def _told(
    found: Found, similarity: float, planned: PlannedRequest, context: RequestContext
) -> list[GenerationEvent]:
    events = list(replay(found.answer, found.level, planned.plan.id, context))
    return [
        replace(
            event,
            cache=CacheStatus.SIMILAR,
            similarity=similarity,
            reason=f"the answer comes from the cache; {event.model} gave it to a question that "
            f"means the same, {similarity:.2f} similar",
        )
        if isinstance(event, Started)
        else event
        for event in events
    ]


def _warn(what: str, error: RouterError, context: RequestContext) -> None:
    _log.warning(what, request_id=context.request_id, error=error.message)
