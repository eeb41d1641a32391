"""Answers from the cache service what was answered before, and keeps what may be answered again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheStatus,
    Finished,
    GenerationEvent,
    RequestContext,
    Started,
)
from llmrouter.gateway.answer_cache import AnswerCache, Keeping, Lease, LookedUp
from llmrouter.gateway.answers import Answer, AnswerBuilder
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.near_caching import READS
from llmrouter.gateway.plan import PlannedGenerator, PlannedRequest
from llmrouter.gateway.replaying import replay
from llmrouter.gateway.sticky import StickyChoice, asked_key

__all__ = ["WRITES", "Caching"]

WRITES = frozenset({CacheMode.WRITE, CacheMode.READ_WRITE, CacheMode.REFRESH})
_MAX_STORED_BYTES = 4 << 20
"""Larger answers would not fit one message; the cache has its own, lower limit."""
_log = structlog.get_logger("llmrouter.gateway.caching")


@dataclass(slots=True)
class _Asked:
    """One request on its way through."""

    planned: PlannedRequest
    context: RequestContext
    status: CacheStatus = CacheStatus.BYPASSED
    looked_up: LookedUp = field(default_factory=LookedUp)
    settled: bool = False
    """Whether the lease, if there is one, has ended."""


class Caching:
    """Consults the cache service for requests that have a key; its failures never fail a request.

    Args:
        cache: The cache service.
        near: This process's answers, which those found and those generated join.
        sticky: Told which model answered a question.
        following: Generates what is not in the cache.
        timeout: Seconds to wait for one look-up or store.
        lease_wait: Seconds to wait for an answer that another gateway generates.
    """

    def __init__(
        self,
        cache: AnswerCache,
        near: NearCache,
        sticky: StickyChoice,
        following: PlannedGenerator,
        timeout: float,
        lease_wait: float,
    ) -> None:
        self._cache = cache
        self._near = near
        self._sticky = sticky
        self._following = following
        self._timeout = timeout
        self._lease_wait = lease_wait

    def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Replay the kept answer, or pass a new one through and keep it."""
        if planned.key:
            return self._keyed(_Asked(planned, context))
        return self._following.generate(planned, context)

    async def _keyed(self, asked: _Asked) -> AsyncIterator[GenerationEvent]:
        try:
            await self._look_up(asked)
        except BaseException:
            await self._release(asked)
            raise
        found = asked.looked_up.found
        if found is not None:
            planned, context, as_of = asked.planned, asked.context, asked.looked_up.sequence
            where = (context.tenant, planned.key)
            self._near.put(*where, found.answer, found.tags, found.remaining, as_of)
            self._sticky.remember(planned, planned.plan.candidates[0])
            for event in replay(found.answer, found.level, planned.plan.id, context):
                yield event
            return
        async with closing_stream(self._generated(asked)) as events:
            async for event in events:
                yield event

    async def _generated(self, asked: _Asked) -> AsyncIterator[GenerationEvent]:
        """Pass a new answer through; then keep it, or give the lease back.

        Whoever has read the last event finds the answer kept: at once where this process keeps it,
        else the event waits for the cache service.
        """
        heard = asked.status is not CacheStatus.UNAVAILABLE
        keeps = heard and asked.planned.request.cache.mode in WRITES
        builder = AnswerBuilder(_MAX_STORED_BYTES)
        stream = self._following.generate(asked.planned, asked.context)
        answer: Answer | None = None
        try:
            async with closing_stream(stream) as events:
                async for event in events:
                    if isinstance(event, Started) and event.cached is not None:
                        keeps, asked.status = False, event.cache  # the answer to another question
                    if keeps:
                        builder.add(event)
                    if keeps and isinstance(event, Finished):
                        answer = await self._keep(asked, builder)
                    yield _told(event, asked.status)
            if answer is not None:
                await self._store(asked, answer)
        finally:
            await self._release(asked)

    async def _keep(self, asked: _Asked, builder: AnswerBuilder) -> Answer | None:
        """Keep an answer here or in the cache service; return it if the latter has yet to."""
        answer = self._own(asked, builder)
        if answer is None or self._keep_near(asked, answer):
            return answer
        await self._store(asked, answer)
        return None

    async def _look_up(self, asked: _Asked) -> None:
        """Learn what the cache service knows, and wait for what another gateway is generating."""
        key, context, mode = asked.planned.key, asked.context, asked.planned.request.cache.mode
        asked.looked_up = LookedUp(sequence=self._near.sequence)
        if mode not in READS:
            return
        # Others wait for whoever has the lease: in vain, if nothing will be stored.
        session = self._near.session if mode in WRITES else ""
        # The lease may have been granted unheard: it is released in any case but a clear answer.
        asked.looked_up = replace(asked.looked_up, lease=Lease.GRANTED if session else Lease.NONE)
        try:
            async with asyncio.timeout(self._timeout):
                known = await self._cache.lookup(key, session, context)
        except (RouterError, TimeoutError) as error:
            _warn("cache lookup failed", context, error)
            asked.status = CacheStatus.UNAVAILABLE
            return
        if known.lease is Lease.HELD:
            known = await self._wait(known, key, session, context)
        first, found = asked.planned.plan.candidates[0], known.found
        if found is not None and not found.answer.gives(first.model, first.version):
            known = replace(known, found=None)
        asked.looked_up = known
        asked.status = CacheStatus.MISS

    async def _wait(
        self, known: LookedUp, key: bytes, session: str, context: RequestContext
    ) -> LookedUp:
        try:
            return await self._cache.wait(key, session, self._lease_wait, context)
        except RouterError as error:
            _log.debug("waited in vain", request_id=context.request_id, error=error.message)
            return known

    def _own(self, asked: _Asked, builder: AnswerBuilder) -> Answer | None:
        """Return a complete answer of the model that the key names; None for any other."""
        answer, first = builder.complete(), asked.planned.plan.candidates[0]
        if answer is None or (answer.model, answer.version) != (first.model, first.version):
            return None  # who stood in once is not to answer this question for ever
        self._sticky.remember(asked.planned, first)
        return answer if answer.reaches(asked.planned.request.sampling.max_tokens) else None

    def _keep_near(self, asked: _Asked, answer: Answer) -> bool:
        wishes = asked.planned.request.cache
        if wishes.mode is CacheMode.REFRESH:
            return False  # it lives past an invalidation that is yet to be made
        ttl = wishes.ttl_seconds or self._near.default_ttl
        where = (asked.context.tenant, asked.planned.key)
        return self._near.put(*where, answer, wishes.tags, ttl, asked.looked_up.sequence)

    async def _store(self, asked: _Asked, answer: Answer) -> None:
        wishes = asked.planned.request.cache
        refresh = wishes.mode is CacheMode.REFRESH
        as_of = asked.looked_up.sequence
        question = asked_key(asked.planned.question, asked.planned.request.routing)
        how = Keeping(wishes.tags, wishes.ttl_seconds, as_of, refresh, question)
        key, session = asked.planned.key, self._near.session
        try:
            async with asyncio.timeout(self._timeout):
                await self._cache.store(key, answer, how, session, asked.context)
            asked.settled = True
        except (RouterError, TimeoutError) as error:
            _warn("cache store failed", asked.context, error)

    async def _release(self, asked: _Asked) -> None:
        if asked.settled or asked.looked_up.lease is not Lease.GRANTED:
            return
        asked.settled = True
        try:
            async with asyncio.timeout(self._timeout):
                await self._cache.release(asked.planned.key, self._near.session, asked.context)
        except (RouterError, TimeoutError) as error:
            _warn("lease not released", asked.context, error)


def _told(event: GenerationEvent, status: CacheStatus) -> GenerationEvent:
    return replace(event, cache=status) if isinstance(event, Started) else event


def _warn(event: str, context: RequestContext, error: Exception) -> None:
    sentence = str(error) or "no answer in time"
    _log.warning(event, request_id=context.request_id, error=sentence)
