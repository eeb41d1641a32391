"""Asks a second model where the first one is slow to begin; whoever has a first token answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import GenerationEvent
from llmrouter.gateway.attempt import Trial

__all__ = ["Runner", "hedged"]

Runner = Callable[[Trial], AsyncGenerator[GenerationEvent]]
"""Runs a try."""


@dataclass(slots=True)
class _Lane:
    """One try on its way to its first event."""

    trial: Trial
    events: AsyncGenerator[GenerationEvent]
    first: asyncio.Task[GenerationEvent | None]


async def hedged(
    trials: list[Trial],
    run: Runner,
    after: float,
    second: Callable[[], Trial | None],
) -> AsyncIterator[GenerationEvent]:
    """Stream the answer of the last of `trials`, or of the one that is asked beside it.

    Nothing of the two is sent before one of them has something to send. The other one is cancelled
    then and stands before the winner in `trials`, with what it took and why it was set aside.

    Args:
        trials: All tries so far; the second one joins them.
        run: Runs one.
        after: Seconds to wait for the first one.
        second: Gives the second one when it is time; None where there is none, or none is granted.

    Raises:
        RouterError: Both failed, or the winner's stream broke off.
    """
    lanes = [_begin(trials[-1], run)]
    try:
        await asyncio.wait({lanes[0].first}, timeout=after)
        if not lanes[0].first.done():
            other = second()
            if other is not None:
                trials.append(other)
                lanes.append(_begin(other, run))
        winner = await _race(lanes)
        for lane in lanes:
            if lane is not winner:
                await _lose(lane, winner)
        trials.remove(winner.trial)
        trials.append(winner.trial)
        event = winner.first.result()
        async with aclosing(winner.events) as events:
            if event is not None:
                yield event
                async for event in events:
                    yield event
    finally:
        for lane in lanes:
            await _end(lane)


def _begin(trial: Trial, run: Runner) -> _Lane:
    events = run(trial)
    return _Lane(trial, events, asyncio.create_task(_first(events)))


async def _first(events: AsyncGenerator[GenerationEvent]) -> GenerationEvent | None:
    return await anext(events, None)


async def _race(lanes: list[_Lane]) -> _Lane:
    """Return whoever has something to send first; of two at once the one that was asked first.

    Raises:
        RouterError: That of the last one to fail, once all have.
    """
    left = list(lanes)
    while True:
        await asyncio.wait({lane.first for lane in left}, return_when=asyncio.FIRST_COMPLETED)
        for lane in [one for one in left if one.first.done()]:
            error = lane.first.exception()
            if error is None:
                return lane
            if not isinstance(error, RouterError) or len(left) == 1:
                raise error
            left.remove(lane)


async def _lose(lane: _Lane, winner: _Lane) -> None:
    """End one that is of no use any more, unless it has failed by itself."""
    if lane.first.done() and lane.first.exception() is not None:
        return
    lane.trial.set_aside = f"{winner.trial.candidate.model} had its first token earlier"
    await _end(lane)
    lane.trial.sent = False


async def _end(lane: _Lane) -> None:
    """Cancel what runs of one; nothing is left of it afterwards."""
    lane.first.cancel()
    await asyncio.gather(lane.first, return_exceptions=True)
    await lane.events.aclose()
