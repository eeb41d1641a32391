"""What is tried next once all whom a plan names have failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from llmrouter.common.continuation import Switching
from llmrouter.common.errors import Retry, RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.common.plan_mode import PlanMode
from llmrouter.gateway.attempt import Trial
from llmrouter.gateway.carrying import MAX_TRIALS, tried
from llmrouter.gateway.continuing import may_be_gone_on_with
from llmrouter.gateway.plan import Plan, PlannedRequest, Replanner
from llmrouter.gateway.retrying import Retrying, passes

__all__ = ["Replanning"]

_MODE = PlanMode.FIRST_OF
"""The one whose answers may be gone on with."""


class Replanning:
    """Finds the next plan of one request: others first, and after a pause those who failed again.

    What is tried because of failures that may pass is within the budget of whom it goes to.

    Args:
        replanner: Gives plans.
        retrying: Grants further tries.
        switching: Who may go on with an answer at most.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        replanner: Replanner,
        retrying: Retrying,
        switching: Switching,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._replanner, self._retrying = replanner, retrying
        self._switching, self._sleep = switching, sleep
        self._pauses = 0

    async def after(
        self,
        planned: PlannedRequest,
        context: RequestContext,
        trials: Sequence[Trial],
        error: RouterError,
    ) -> PlannedRequest | None:
        """Return the plan after one that failed with `error`; None where nothing can help."""
        if not self._may_go_on(planned, trials, error):
            return None
        passing = any(passes(one) for one in _failures(trials))
        plan = await self._select(planned, context, trials, again=False)
        if plan is None and passing:
            plan = await self._later(planned, context, trials)
        if plan is None:
            return None
        if any(trial.sent for trial in trials):
            plan = replace(plan, mode=_MODE)  # what was sent is never begun anew
        if passing:
            plan = _shortest(plan)
            if not self._retrying.grants([one.model for one in plan.candidates]):
                error.metadata["retries"] = "their budget is spent"
                return None
        return replace(planned, plan=plan)

    def _may_go_on(
        self, planned: PlannedRequest, trials: Sequence[Trial], error: RouterError
    ) -> bool:
        if not trials or len(trials) >= MAX_TRIALS or error.retry is Retry.NEVER:
            return False
        if not any(trial.sent for trial in trials):
            return True
        may = may_be_gone_on_with(planned.request, trials, self._switching)
        return may and planned.plan.mode is _MODE

    async def _later(
        self, planned: PlannedRequest, context: RequestContext, trials: Sequence[Trial]
    ) -> Plan | None:
        """Return a plan with those whose failures may have passed, after a pause or several."""
        while True:
            pause = self._retrying.pause(self._pauses, _failures(trials), context.remaining())
            if pause is None:
                return None
            self._pauses += 1
            await self._sleep(pause)
            plan = await self._select(planned, context, trials, again=True)
            if plan is not None:
                return plan

    async def _select(
        self,
        planned: PlannedRequest,
        context: RequestContext,
        trials: Sequence[Trial],
        *,
        again: bool,
    ) -> Plan | None:
        """Return a plan without those who failed, or `again` with those who need not fail."""
        failed = tuple(
            replace(tried(one), again=again and one.error is not None and passes(one.error))
            for one in trials
            if not one.set_aside
        )
        try:
            plan = await self._replanner.select(planned.request, context, failed)
        except RouterError:
            return None  # what has failed says more
        return plan if plan.candidates and not plan.candidates[0].away else None


def _failures(trials: Sequence[Trial]) -> list[RouterError]:
    return [one.error for one in trials if one.error is not None and not one.set_aside]


def _shortest(plan: Plan) -> Plan:
    """Return the plan with no more models than it needs: each further try is one more."""
    if plan.mode is not PlanMode.FIRST_OF:
        return plan
    return replace(plan, candidates=plan.candidates[:1], hedge_after=None)
