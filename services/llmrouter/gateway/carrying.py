"""What the ways of carrying a plan out have in common."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import (
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Started,
)
from llmrouter.gateway.answers import AnswerBuilder, Choice
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.continuing import switched, whole
from llmrouter.gateway.plan import PlannedRequest, Tried

__all__ = ["MAX_TRIALS", "Carrier", "Held", "hold", "may_go_on", "release", "told", "tried"]

MAX_TRIALS = 16
"""Of one request, over all its plans."""
_MAX_HELD_BYTES = 4 << 20
"""Of an answer that is kept back until it is judged."""


class Carrier(Protocol):
    """One way of carrying a plan out, as its mode says."""

    def carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer; every try joins `trials`.

        Raises:
            RouterError: Nobody answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A complete answer that was kept back."""

    trial: Trial
    events: tuple[GenerationEvent, ...]
    choices: tuple[Choice, ...]


async def hold(
    trial: Trial, runner: ModelRunner, request: GenerationRequest, context: RequestContext
) -> Held:
    """Run a try to its end and keep its answer back.

    Raises:
        RouterError: It failed, or its answer is larger than 4 MiB (GENERATION_FAILED).
    """
    builder, events = AnswerBuilder(_MAX_HELD_BYTES), []
    async with closing_stream(trial.run(runner, request, context)) as stream:
        async for event in stream:
            builder.add(event)
            if builder.too_large:
                message = f"{trial.candidate.model} gave an answer too large to be judged"
                trial.error = RouterError(Reason.GENERATION_FAILED, message)
                raise trial.error
            events.append(event)
    return Held(trial, tuple(events), builder.choices())


def release(
    held: Held,
    planned: PlannedRequest,
    context: RequestContext,
    trials: Sequence[Trial],
    reason: str,
) -> list[GenerationEvent]:
    """Return the events of an answer that was kept back, as the gateway tells them."""
    held.trial.sent = True
    others = [one for one in trials if one is not held.trial]
    events = (told(event, planned, context, [*others, held.trial], reason) for event in held.events)
    if planned.request.sampling.logprobs:
        return list(events)
    return [replace(one, logprobs=()) if isinstance(one, Delta) else one for one in events]


def told(
    event: GenerationEvent,
    planned: PlannedRequest,
    context: RequestContext,
    trials: Sequence[Trial],
    reason: str,
) -> GenerationEvent:
    """Return an event of the model that was tried last as the gateway tells it."""
    match event:
        case Started():
            trial = trials[-1]
            if any(one.sent for one in trials[:-1]):
                return switched(trials)
            return Started(
                context.request_id,
                trial.candidate.model,
                trial.version,
                reason,
                plan_id=planned.plan.id,
                prompt_tokens=event.prompt_tokens,
            )
        case Finished():
            attempts = tuple(trial.attempt() for trial in trials)
            cost = math.fsum(one.cost for one in attempts)
            return replace(whole(event, trials), attempts=attempts, cost=cost)
        case _:
            return event


def may_go_on(trial: Trial, error: RouterError) -> bool:
    """Whether another candidate may answer instead."""
    return not trial.sent and error.retry is not Retry.NEVER


def tried(trial: Trial) -> Tried:
    """Return what a new plan must know of a try that failed."""
    error = trial.error
    too_long = error is not None and error.reason is Reason.CONTEXT_TOO_LONG
    return Tried(trial.candidate, too_long, trial.sent)
