"""Carries a plan out as its mode says, and asks for another one when it is spent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Switching
from llmrouter.common.errors import Retry, RouterError
from llmrouter.common.generation import GenerationEvent, RequestContext
from llmrouter.common.plan_mode import PlanMode
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import MOST_TRIALS, Carrier, tried
from llmrouter.gateway.cascade import CascadePolicy
from llmrouter.gateway.cascading import Cascading
from llmrouter.gateway.continuing import may_be_gone_on_with
from llmrouter.gateway.ensemble import Ensemble
from llmrouter.gateway.first_of import FirstOf
from llmrouter.gateway.judging import Judging
from llmrouter.gateway.plan import PlannedRequest, Replanner
from llmrouter.gateway.reporting import OutcomeReporter

__all__ = ["Execution"]

_MODE = PlanMode.FIRST_OF
"""The one whose answers may be gone on with."""


class Execution:
    """Carries plans out, tells all attempts and reports their outcomes.

    A plan whose candidates have all failed is followed by a new one without them, until one
    answers or nobody is left.

    Args:
        runner: Inference.
        reporter: Tells the selector how attempts went.
        replanner: Gives the plan after a plan, and that of a judge.
        cascade: What an answer needs to be kept where a cascade gives it.
        switching: Who may go on with an answer that broke off, at most.
    """

    def __init__(
        self,
        runner: ModelRunner,
        reporter: OutcomeReporter,
        replanner: Replanner,
        cascade: CascadePolicy | None = None,
        switching: Switching = Switching.ANY,
    ) -> None:
        self._switching = switching
        self._reporter = reporter
        self._replanner = replanner
        self._carriers: dict[PlanMode, Carrier] = {
            PlanMode.FIRST_OF: FirstOf(runner, switching),
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
        begin, carrier = len(trials), self._carriers[planned.plan.mode]
        try:
            async with closing_stream(carrier.carry_out(planned, context, trials)) as events:
                async for event in events:
                    yield event
        finally:
            own = [one for one in trials[begin:] if one.candidate in planned.plan.candidates]
            outcomes = tuple(trial.outcome() for trial in own)
            if outcomes:
                self._reporter.report(planned.plan.id, outcomes, context)

    async def _plan_again(
        self,
        planned: PlannedRequest,
        context: RequestContext,
        trials: list[Trial],
        error: RouterError,
    ) -> PlannedRequest | None:
        """Return a plan without those who failed; None where there is none, or it cannot help."""
        sent = any(trial.sent for trial in trials)
        if not trials or len(trials) >= MOST_TRIALS or error.retry is Retry.NEVER:
            return None
        if sent and not self._may_be_gone_on_with(planned, trials):
            return None
        failed = tuple(tried(trial) for trial in trials)
        try:
            plan = await self._replanner.select(planned.request, context, failed)
        except RouterError:
            return None  # what has failed says more
        if not plan.candidates or plan.candidates[0].away:
            return None
        # What was sent is never begun anew, whatever the new plan says.
        return PlannedRequest(planned.request, replace(plan, mode=_MODE) if sent else plan)

    def _may_be_gone_on_with(self, planned: PlannedRequest, trials: list[Trial]) -> bool:
        may = may_be_gone_on_with(planned.request, trials, self._switching)
        return may and planned.plan.mode is _MODE
