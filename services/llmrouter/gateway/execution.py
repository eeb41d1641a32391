"""Carries a plan out as its mode says, and asks for another one when it is spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Switching
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationEvent, RequestContext
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.truncation import Truncation
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import Carrier
from llmrouter.gateway.cascade import CascadePolicy
from llmrouter.gateway.cascading import Cascading
from llmrouter.gateway.ensemble import Ensemble
from llmrouter.gateway.first_of import FirstOf
from llmrouter.gateway.judging import Judging
from llmrouter.gateway.plan import PlannedRequest, Replanner
from llmrouter.gateway.replanning import Replanning
from llmrouter.gateway.reporting import OutcomeReporter
from llmrouter.gateway.retrying import Retrying

__all__ = ["Execution"]


class Execution:
    """Carries plans out, tells all attempts and reports their outcomes.

    A plan whose candidates have all failed is followed by another one: without them, and once
    nobody is left, after a pause, with those whose trouble may have passed.

    Args:
        runner: Inference.
        reporter: Tells the selector how attempts went.
        replanner: Gives the plan after a plan, and that of a judge.
        cascade: What an answer needs to be kept where a cascade gives it.
        switching: Who may go on with an answer that broke off, at most.
        retrying: Says when tries beyond a plan may be made.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        runner: ModelRunner,
        reporter: OutcomeReporter,
        replanner: Replanner,
        cascade: CascadePolicy | None = None,
        switching: Switching = Switching.ANY,
        retrying: Retrying | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._switching, self._retrying = switching, retrying or Retrying()
        self._reporter, self._replanner, self._sleep = reporter, replanner, sleep
        self._carriers: dict[PlanMode, Carrier] = {
            PlanMode.FIRST_OF: FirstOf(runner, switching, self._retrying),
            PlanMode.CASCADE: Cascading(runner, cascade or CascadePolicy()),
            PlanMode.ENSEMBLE: Ensemble(runner, Judging(runner, reporter, replanner)),
        }

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer.

        Raises:
            RouterError: That of the last candidate tried, with the count in `attempts`;
                MODEL_UNAVAILABLE for a plan whose models are away.
        """
        planned.plan.check_served()
        trials: list[Trial] = []
        replanning = Replanning(self._replanner, self._retrying, self._switching, self._sleep)
        following: PlannedRequest | None = planned
        while following is not None:
            current, following = following, None
            try:
                async with closing_stream(self._carry_out(current, context, trials)) as events:
                    async for event in events:
                        yield event
            except RouterError as error:
                following = await replanning.after(current, context, trials, error)
                if following is None:
                    told = _told(current, trials, error)
                    if told is error:
                        raise
                    raise told from error

    async def _carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        if context.bill is not None:
            context.bill.plan = (planned.plan.id, planned.plan.reason)
        begin, carrier = len(trials), self._carriers[planned.plan.mode]
        try:
            async with closing_stream(carrier.carry_out(planned, context, trials)) as events:
                async for event in events:
                    yield event
        finally:
            own = [one for one in trials[begin:] if one.candidate in planned.plan.candidates]
            outcomes = tuple(trial.outcome() for trial in own)
            if not begin:
                self._retrying.planned([one.candidate.model for one in own if not one.hedge])
            if outcomes:
                self._reporter.report(planned.plan.id, outcomes, context)


def _told(planned: PlannedRequest, trials: Sequence[Trial], error: RouterError) -> RouterError:
    """Return what the caller is told: one whose question may be shortened, that it has to be."""
    sent = any(trial.sent for trial in trials)
    if planned.request.routing.truncation is Truncation.AUTO and not sent:
        errors = (one.error for one in trials if one.error is not None)
        error = next((one for one in errors if one.reason is Reason.CONTEXT_TOO_LONG), error)
    error.metadata["attempts"] = str(len(trials))
    error.attempts = tuple(trial.attempt() for trial in trials)
    return error
