"""Answers from the cache what was answered before, and keeps what may be answered again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

import structlog

from llmrouter.common.answer_key import answer_key
from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheStatus,
    Finished,
    GenerationEvent,
    RequestContext,
    Started,
    Timings,
)
from llmrouter.common.plan_mode import PlanMode
from llmrouter.gateway.answers import Answer, AnswerBuilder
from llmrouter.gateway.plan import Candidate, PlannedGenerator, PlannedRequest
from llmrouter.gateway.sticky import StickyChoice

__all__ = ["AnswerCache", "Caching"]

_READS = frozenset({CacheMode.READ, CacheMode.READ_WRITE})
_WRITES = frozenset({CacheMode.WRITE, CacheMode.READ_WRITE})
_MAX_STORED_BYTES = 4 << 20
"""Larger answers would not fit one message; the cache has its own, lower limit."""
_log = structlog.get_logger("llmrouter.gateway.caching")


class AnswerCache(Protocol):
    """What caching needs of the cache service."""

    async def lookup(self, key: bytes, context: RequestContext) -> Answer | None:
        """Return the answer kept under `key`; None when there is none."""
        ...

    async def store(
        self, key: bytes, answer: Answer, ttl_seconds: float, context: RequestContext
    ) -> None:
        """Keep a complete answer; a `ttl_seconds` of 0 takes the cache's default."""
        ...


class Caching:
    """Consults the cache for deterministic requests; its failures never fail a request.

    Args:
        cache: The cache service.
        following: Generates what is not in the cache.
        timeout: Seconds to wait for one look-up or store.
    """

    def __init__(self, cache: AnswerCache, following: PlannedGenerator, timeout: float) -> None:
        self._cache = cache
        self._following = following
        self._timeout = timeout
        self._sticky = StickyChoice()

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Replay the kept answer, or pass a new one through and keep it."""
        began = time.monotonic()
        request = planned.request
        mode = request.cache.mode
        single = planned.plan.mode is PlanMode.FIRST_OF
        if mode is CacheMode.OFF or not single or not request.sampling.deterministic:
            status, key, answer = CacheStatus.BYPASSED, b"", None
        else:
            planned = self._sticky.prefer(planned, context)
            first = planned.plan.candidates[0]
            key = answer_key(request, context.tenant, first.model, first.version)
            status, answer = await self._lookup(key, mode, first, context)
        if answer is not None:
            for event in _replay(answer, planned, context, began):
                yield event
            return
        writes = bool(key) and mode in _WRITES and status is not CacheStatus.UNAVAILABLE
        builder = AnswerBuilder(_MAX_STORED_BYTES) if writes else None
        async with closing_stream(self._following.generate(planned, context)) as events:
            async for event in events:
                if builder is not None:
                    builder.add(event)
                    if isinstance(event, Finished):
                        # Before the last event: whoever has read it finds the answer kept.
                        await self._store(key, builder, planned, context)
                yield replace(event, cache=status) if isinstance(event, Started) else event

    async def _lookup(
        self, key: bytes, mode: CacheMode, first: Candidate, context: RequestContext
    ) -> tuple[CacheStatus, Answer | None]:
        if mode not in _READS:
            return CacheStatus.BYPASSED, None
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._cache.lookup(key, context)
        except (RouterError, TimeoutError) as error:
            _log.warning(
                "cache lookup failed", request_id=context.request_id, error=_sentence(error)
            )
            return CacheStatus.UNAVAILABLE, None
        if answer is None or not answer.choices or not _same(answer, first):
            return CacheStatus.MISS, None
        return CacheStatus.HIT, answer

    async def _store(
        self, key: bytes, builder: AnswerBuilder, planned: PlannedRequest, context: RequestContext
    ) -> None:
        answer = builder.complete()
        if answer is None:
            return
        for candidate in planned.plan.candidates:
            if _same(answer, candidate):
                self._sticky.remember(planned, context, candidate)
                break
        if not _same(answer, planned.plan.candidates[0]):
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._cache.store(key, answer, planned.request.cache.ttl_seconds, context)
        except (RouterError, TimeoutError) as error:
            _log.warning(
                "cache store failed", request_id=context.request_id, error=_sentence(error)
            )


def _same(answer: Answer, candidate: Candidate) -> bool:
    return (answer.model, answer.version) == (candidate.model, candidate.version)


def _sentence(error: Exception) -> str:
    return str(error) or "no answer in time"


def _replay(
    answer: Answer, planned: PlannedRequest, context: RequestContext, began: float
) -> list[GenerationEvent]:
    started = Started(
        context.request_id,
        answer.model,
        answer.version,
        f"the answer comes from the cache; {answer.model} gave it to the same request before",
        CacheStatus.HIT,
        planned.plan.id,
        answer.usage.prompt_tokens,
    )
    timings = Timings(total=time.monotonic() - began)
    return [started, *answer.replay(), Finished(answer.usage, timings)]
