"""Carries a plan out: FIRST_OF tries the candidates in order until one answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import (
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Started,
)
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.plan import Plan, PlannedRequest, Tried
from llmrouter.gateway.reporting import OutcomeReporter

__all__ = ["Execution", "Replanner"]


_MOST_TRIALS = 16
"""Of one request, over all its plans."""


class Replanner(Protocol):
    """What execution needs of the selector once a plan is spent."""

    async def select(
        self, request: GenerationRequest, context: RequestContext, tried: tuple[Tried, ...]
    ) -> Plan:
        """Return a plan without those that were `tried`.

        Raises:
            RouterError: There is none.
        """
        ...


class Execution:
    """Tries candidates while nothing was sent, tells all attempts and reports their outcomes.

    A plan whose candidates have all failed is followed by a new one without them, until one
    answers or nobody is left.
    """

    def __init__(
        self, runner: ModelRunner, reporter: OutcomeReporter, replanner: Replanner
    ) -> None:
        self._runner = runner
        self._reporter = reporter
        self._replanner = replanner

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer of the first candidate that gives one.

        Raises:
            RouterError: That of the last candidate tried, with the count in `attempts`;
                MODEL_UNAVAILABLE for a plan whose models are away.
        """
        planned.plan.check_served()
        trials: list[Trial] = []
        following: PlannedRequest | None = planned
        while following is not None:
            current, following = following, None
            try:
                async with closing_stream(self._carry_out(current, context, trials)) as events:
                    async for event in events:
                        yield event
            except RouterError as error:
                following = await self._plan_again(current, context, trials, error)
                if following is None:
                    error.metadata["attempts"] = str(len(trials))
                    raise

    async def _carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        begin = len(trials)
        try:
            async with closing_stream(self._first_of(planned, context, trials)) as events:
                async for event in events:
                    yield event
        finally:
            outcomes = tuple(trial.outcome() for trial in trials[begin:])
            self._reporter.report(planned.plan.id, outcomes, context)

    async def _first_of(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        left = list(planned.plan.candidates)
        while left:
            trial = Trial(left.pop(0), planned.request.prompt_bytes)
            trials.append(trial)
            try:
                stream = trial.run(self._runner, planned.request, context)
                async with closing_stream(stream) as events:
                    async for event in events:
                        yield _told(event, planned, context, trials)
            except RouterError as error:
                tried = _tried(trial)
                left = [one for one in left if not tried.fails_too(one)]
                last = not left or len(trials) >= _MOST_TRIALS
                if last or not _may_go_on(trial, error):
                    raise
            else:
                return

    async def _plan_again(
        self,
        planned: PlannedRequest,
        context: RequestContext,
        trials: list[Trial],
        error: RouterError,
    ) -> PlannedRequest | None:
        """Return a plan without those who failed; None where there is none, or it cannot help."""
        if len(trials) >= _MOST_TRIALS or not _may_go_on(trials[-1], error):
            return None
        tried = tuple(_tried(trial) for trial in trials)
        try:
            plan = await self._replanner.select(planned.request, context, tried)
        except RouterError:
            return None  # what has failed says more
        if not plan.candidates or plan.candidates[0].away:
            return None
        return PlannedRequest(planned.request, plan)


def _may_go_on(trial: Trial, error: RouterError) -> bool:
    """Whether another candidate may answer instead."""
    return not trial.sent and error.retry is not Retry.NEVER


def _tried(trial: Trial) -> Tried:
    error = trial.error
    too_long = error is not None and error.reason is Reason.CONTEXT_TOO_LONG
    return Tried(trial.candidate, too_long)


def _told(
    event: GenerationEvent, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
) -> GenerationEvent:
    """Return an event of a model as the gateway tells it."""
    match event:
        case Started():
            trial = trials[-1]
            return Started(
                context.request_id,
                trial.candidate.model,
                trial.version,
                _reason(planned, trials),
                plan_id=planned.plan.id,
                prompt_tokens=event.prompt_tokens,
            )
        case Finished():
            return replace(event, attempts=tuple(trial.attempt() for trial in trials))
        case _:
            return event


def _reason(planned: PlannedRequest, trials: list[Trial]) -> str:
    if len(trials) == 1:
        return planned.plan.reason
    failed = ", ".join(
        f"{trial.candidate.model} ({trial.error.reason.value})"
        for trial in trials[:-1]
        if trial.error is not None
    )
    return f"{trials[-1].candidate.model} stands in for {failed}"
