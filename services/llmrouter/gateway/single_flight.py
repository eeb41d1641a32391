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
    RequestContext,
    Started,
)
from llmrouter.gateway.caching import WRITES
from llmrouter.gateway.flight import Flight
from llmrouter.gateway.near_caching import READS
from llmrouter.gateway.plan import PlannedGenerator, PlannedRequest

__all__ = ["SingleFlight"]

_MOST_JOINED = 3
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


class SingleFlight:
    """Lets requests with the same key follow one generation, which is that of its starter.

    It goes on until the last of those who follow it leaves. A failure is nobody's answer: those
    who have received nothing yet begin anew, together.

    Args:
        following: Generates, or answers from farther levels.
        patience: Seconds that a generation may last beyond its starter's deadline, for those who
            join it.
    """

    def __init__(self, following: PlannedGenerator, patience: float) -> None:
        self._following = following
        self._patience = patience
        self._flights: dict[_Identity, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Follow the generation in flight, or begin one; without a key, generate alone."""
        if not planned.key:
            async with closing_stream(self._following.generate(planned, context)) as events:
                async for event in events:
                    yield event
            return
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
                if own or received or joined >= _MOST_JOINED or not _worth_repeating(error):
                    raise
            else:
                return

    async def close(self) -> None:
        """Return once every generation in flight has ended and its answer is stored."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

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
        )
        flight = self._flights.get(identity)
        if (
            flight is not None
            and flight.open
            and wishes.mode is not CacheMode.REFRESH
            and _in_time(flight, context)
        ):
            return flight, False
        flight = self._begin(planned, context)
        self._flights[identity] = flight
        flight.task.add_done_callback(lambda _: self._landed(identity, flight))
        return flight, True

    def _begin(self, planned: PlannedRequest, context: RequestContext) -> Flight:
        if context.deadline is not None:
            context = replace(context, deadline=context.deadline + self._patience)
        flight = Flight(self._following.generate(planned, context), context.deadline)
        if (bill := context.bill) is not None:
            bill.begin()  # the flight may go on when its starter has left
            flight.task.add_done_callback(lambda _: bill.end())
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

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
