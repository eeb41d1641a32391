"""Identical requests in flight share one generation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Switching
from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheStatus,
    GenerationEvent,
    Priority,
    RequestContext,
    RoutingWishes,
    Started,
)
from llmrouter.gateway.caching import WRITES
from llmrouter.gateway.flight import Flight
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.near_caching import READS
from llmrouter.gateway.plan import PlannedGenerator, PlannedRequest

__all__ = ["SingleFlight"]

_CLOSE_SECONDS = 5.0
_MAX_JOINED = 3
"""Generations of others that one request sees fail before it tells so."""
_STARTERS_OWN = frozenset({Reason.DEADLINE_EXCEEDED, Reason.CANCELLED, Reason.SLOW_READER})
"""Failures that say nothing of the request itself."""


class _Identity(NamedTuple):
    """What requests must have in common to share a generation."""

    key: bytes
    reads: bool
    writes: bool
    ttl_seconds: float
    tags: tuple[str, ...]
    switching: Switching
    """Who may go on with the answer, at most."""
    similar: bool
    """Whether the answer to another question will do; who wants their own must not get it."""
    routing: RoutingWishes
    """Who else may answer when the first fails: one's stand-in may be forbidden to another."""
    priority: Priority
    """Who is urgent does not wait for what is not."""


class SingleFlight:
    """Lets requests with the same key follow one generation, which is that of its starter.

    It goes on until the last of those who follow it leaves. A failure is nobody's answer: those
    who have received nothing yet begin anew, together.

    Nobody joins what began before an invalidation of its answer that has been heard here.

    Args:
        near: Knows what was invalidated.
        following: Generates, or answers from farther levels.
        patience: Seconds that a generation may last beyond its starter's deadline, for those who
            join it.
    """

    def __init__(self, near: NearCache, following: PlannedGenerator, patience: float) -> None:
        self._near = near
        self._following = following
        self._patience = patience
        self._flights: dict[_Identity, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Follow the generation in flight, or begin one; without a key, generate alone."""
        if not planned.key:
            return self._following.generate(planned, context)
        return self._shared(planned, context)

    async def _shared(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        joined, received = 0, False
        while True:
            flight, own = self._flight(planned, context)
            joined += not own
            try:
                async with closing_stream(flight.follow()) as events:
                    async for event in events:
                        received = True
                        yield event if own else _joined(event, planned, context)
            except RouterError as error:
                if own or received or joined >= _MAX_JOINED or not _worth_repeating(error):
                    raise
            else:
                return

    async def close(self) -> None:
        """Return once every generation in flight has ended and its answer is stored.

        Nobody follows one any more: what takes longer than storing may is cancelled.
        """
        left = set(self._tasks)
        if left:
            _, left = await asyncio.wait(left, timeout=_CLOSE_SECONDS)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CLOSE_SECONDS)

    def _flight(self, planned: PlannedRequest, context: RequestContext) -> tuple[Flight, bool]:
        """Return the flight to follow, and whether this request began it."""
        wishes = planned.request.cache
        identity = _Identity(
            planned.key,
            wishes.mode in READS,
            wishes.mode in WRITES,
            wishes.ttl_seconds,
            wishes.tags,
            planned.request.routing.switching,
            wishes.similar,
            planned.request.routing,
            planned.request.priority,
        )
        flight = self._flights.get(identity)
        if (
            flight is not None
            and flight.open
            and wishes.mode is not CacheMode.REFRESH
            and _in_time(flight, context)
            and self._living(flight, planned, context)
        ):
            return flight, False
        flight = self._begin(planned, context)
        self._flights[identity] = flight
        flight.task.add_done_callback(lambda _: self._landed(identity, flight))
        return flight, True

    def _begin(self, planned: PlannedRequest, context: RequestContext) -> Flight:
        if context.deadline is not None:
            context = replace(context, deadline=context.deadline + self._patience)
        stream = self._following.generate(planned, context)
        flight = Flight(stream, context.deadline, self._near.moment)
        if (bill := context.bill) is not None:
            bill.begin()  # the flight may go on when its starter has left
            flight.task.add_done_callback(lambda _: bill.end())
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    def _living(self, flight: Flight, planned: PlannedRequest, context: RequestContext) -> bool:
        first, tags = planned.plan.candidates[0], planned.request.cache.tags
        whose = (first.model, first.version, tags)
        return self._near.living(context.tenant, planned.key, *whose, flight.began)

    def _landed(self, identity: _Identity, flight: Flight) -> None:
        if self._flights.get(identity) is flight:
            del self._flights[identity]


def _in_time(flight: Flight, context: RequestContext) -> bool:
    """Whether a flight lasts as long as a request may."""
    if flight.deadline is None:
        return True
    return context.deadline is not None and context.deadline <= flight.deadline


def _worth_repeating(error: RouterError) -> bool:
    return error.retry is not Retry.NEVER or error.reason in _STARTERS_OWN


def _joined(
    event: GenerationEvent, planned: PlannedRequest, context: RequestContext
) -> GenerationEvent:
    """Return an event as it is told to a request that did not begin the generation."""
    if not isinstance(event, Started):
        return event
    if event.cache in (CacheStatus.HIT, CacheStatus.SIMILAR):
        return replace(event, request_id=context.request_id, plan_id=planned.plan.id)
    return replace(
        event,
        request_id=context.request_id,
        plan_id=planned.plan.id,
        cache=CacheStatus.JOINED,
        reason=f"{event.model} was answering the same request already; {event.reason}",
    )
