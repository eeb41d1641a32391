"""The links that hold requests to their limits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

from llmrouter.common.bill import Bill
from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Continuation
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    Started,
    Usage,
)
from llmrouter.common.plan_mode import PlanMode
from llmrouter.gateway.attempt import ModelRunner, turned_away
from llmrouter.gateway.limits.limiter import Hold, Limiter
from llmrouter.gateway.limits.resources import NANO, Resource
from llmrouter.gateway.plan import (
    Candidate,
    Plan,
    PlannedGenerator,
    PlannedRequest,
    Replanner,
)

__all__ = [
    "ARRIVAL",
    "Budget",
    "LimitedRunner",
    "Limiting",
    "Rates",
    "needed_amounts",
    "used_amounts",
]

ARRIVAL: Mapping[Resource, int] = MappingProxyType({Resource.REQUESTS: 1, Resource.STREAMS: 1})
"""What every request takes, whatever it costs."""
_Needs = dict[Resource, int]
_MIN_BYTES_PER_TOKEN = 2
"""Of prompts that the selector has not estimated."""


def used_amounts(tokens: int, cost: float) -> dict[Resource, int]:
    """Return what was used, as counters take it; `cost` in US dollars."""
    return {Resource.TOKENS: tokens, Resource.DOLLARS: round(cost * NANO)}


def needed_amounts(
    candidate: Candidate, prompt_bytes: int, answer_tokens: int
) -> dict[Resource, int]:
    """Return what one try at a model may need, by the selector's estimate of the prompt."""
    prompt = candidate.prompt_tokens or -(-prompt_bytes // _MIN_BYTES_PER_TOKEN)
    cost = candidate.prices.cost(Usage(prompt, answer_tokens))
    return used_amounts(prompt + answer_tokens, cost)


class Limiting:
    """Puts the links in that the rules need, and no others.

    Args:
        limiter: Applies the rules; None where there are none.
        answer_tokens: Assumed of answers without `max_tokens`.
        replanner: Gives a plan within what is left of a budget; None gives none.
    """

    def __init__(
        self, limiter: Limiter | None, answer_tokens: int, replanner: Replanner | None = None
    ) -> None:
        self._limiter, self._answer_tokens, self._replanner = limiter, answer_tokens, replanner

    def arrivals(self, following: Generator) -> Generator:
        """Return the link that counts requests and streams."""
        if self._limiter is None or not self._limiter.limits(*ARRIVAL):
            return following
        return Rates(self._limiter, following)

    def spending(self, following: PlannedGenerator) -> PlannedGenerator:
        """Return the link that counts tokens and money."""
        limiter = self._limiter
        if limiter is None or not limiter.limits(Resource.TOKENS, Resource.DOLLARS):
            return following
        return Budget(limiter, self._answer_tokens, following, self._replanner)

    def tries(self, runner: ModelRunner) -> ModelRunner:
        """Return inference within the limits of models."""
        if self._limiter is None or not self._limiter.limits(*Resource, by_model=True):
            return runner
        return LimitedRunner(self._limiter, self._answer_tokens, runner)


class Rates:
    """Counts requests and streams, those answered from the cache too."""

    def __init__(self, limiter: Limiter, following: Generator) -> None:
        self._limiter, self._following = limiter, following

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on.

        Raises:
            RouterError: As `Limiter.reserve`.
        """
        hold = await self._limiter.reserve(context, ARRIVAL)
        try:
            async with closing_stream(self._following.generate(request, context)) as events:
                async for event in events:
                    yield event
        finally:
            hold.settle()


class Budget:
    """Reserves the tokens and the money that a generation may need; the cache costs nothing.

    Where the limits do not hold a plan's dearest models, they are left out, unless the plan needs
    all of its models; where they hold none of it, another plan is made of what they hold.

    Args:
        limiter: Applies the rules.
        answer_tokens: Assumed of answers without `max_tokens`.
        following: Generates.
        replanner: Plans within what is left; None refuses what the plan's own models do not fit.
    """

    def __init__(
        self,
        limiter: Limiter,
        answer_tokens: int,
        following: PlannedGenerator,
        replanner: Replanner | None = None,
    ) -> None:
        self._limiter, self._answer_tokens, self._following = limiter, answer_tokens, following
        self._replanner = replanner

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on.

        Raises:
            RouterError: As `Limiter.reserve`.
        """
        bill = context.bill or Bill()
        context = replace(context, bill=bill)
        tokens, cost = bill.tokens, bill.cost  # of what was tried before with more of the chat
        planned, hold = await self._reserve(planned, context)
        try:
            async with closing_stream(self._following.generate(planned, context)) as events:
                async for event in events:
                    if isinstance(event, Finished):  # told before the caller hears of the end
                        hold.settle(used_amounts(bill.tokens - tokens, bill.cost - cost))
                    yield event
        finally:
            hold.settle(used_amounts(bill.tokens - tokens, bill.cost - cost))

    async def _reserve(
        self, planned: PlannedRequest, context: RequestContext
    ) -> tuple[PlannedRequest, Hold]:
        try:
            return await self._within(planned, context, tentative=self._replanner is not None)
        except RouterError as error:
            if self._replanner is None or error.reason is not Reason.QUOTA_EXHAUSTED:
                raise
            cheaper = await self._cheaper_plan(self._replanner, planned, context)
        # Without a cheaper one the same again: a refusal in earnest is told as one.
        return await self._within(cheaper or planned, context)

    async def _within(
        self, planned: PlannedRequest, context: RequestContext, *, tentative: bool = False
    ) -> tuple[PlannedRequest, Hold]:
        """Reserve for the plan, or for the part of it that the limits hold."""
        plan, needs = planned.plan, self._needs(planned)
        if plan.hedge_after is not None and len(needs) > 1:
            # Two may run at once. Where the limits have no room for that, one has to do.
            with contextlib.suppress(RouterError):
                two = _most_of_two(needs)
                return planned, await self._limiter.reserve(context, two, tentative=True)
            planned = replace(planned, plan=replace(plan, hedge_after=None))
            plan = planned.plan
        together = _most if plan.mode is PlanMode.FIRST_OF else _sum
        left = list(zip(plan.candidates, needs, strict=True))
        while True:
            cheaper = [] if plan.mode is PlanMode.ENSEMBLE else _cheaper(left)
            needed, on = together([need for _, need in left]), tentative or bool(cheaper)
            try:
                hold = await self._limiter.reserve(context, needed, tentative=on)
            except RouterError as error:
                if error.reason is not Reason.QUOTA_EXHAUSTED or not cheaper:
                    raise
                left = cheaper
            else:
                return replace(planned, plan=_with(plan, [one for one, _ in left])), hold

    def _needs(self, planned: PlannedRequest) -> list[_Needs]:
        request = planned.request
        answer = (request.sampling.max_tokens or self._answer_tokens) * request.sampling.n
        return [
            needed_amounts(one, request.prompt_bytes, answer) for one in planned.plan.candidates
        ]

    async def _cheaper_plan(
        self, replanner: Replanner, planned: PlannedRequest, context: RequestContext
    ) -> PlannedRequest | None:
        """Return a plan of models that what is left of the money may hold; None for none."""
        plan, request = planned.plan, planned.request
        left = context.bill.standings.left(Resource.DOLLARS) if context.bill else None
        if left is None or plan.mode is PlanMode.ENSEMBLE:
            return None
        needed = min(need[Resource.DOLLARS] for need in self._needs(planned)) / NANO
        if not 0 < left < needed:
            return None
        # In the selector's own estimate, which may assume another length of the answer.
        ceiling = left / needed * min(one.cost for one in plan.candidates)
        wishes = replace(
            request.routing, max_cost=min(ceiling, request.routing.max_cost or ceiling)
        )
        try:
            found = await replanner.select(replace(request, routing=wishes), context, ())
        except RouterError:
            return None  # what has no room says more
        if not found.candidates or found.candidates[0].away:
            return None
        return replace(planned, plan=replace(found, reason=_within_budget(found, plan)))


class LimitedRunner:
    """Inference within the limits of models: a model without room leaves the request to others.

    Args:
        limiter: Applies the rules that depend on the model.
        answer_tokens: Assumed of answers without `max_tokens`.
        runner: Inference.
    """

    def __init__(self, limiter: Limiter, answer_tokens: int, runner: ModelRunner) -> None:
        self._limiter, self._answer_tokens, self._runner = limiter, answer_tokens, runner

    async def infer(
        self,
        candidate: Candidate,
        request: GenerationRequest,
        context: RequestContext,
        begun: Continuation | None = None,
    ) -> AsyncIterator[GenerationEvent]:
        """Run the request on one model, from the beginning or from what was answered already.

        Raises:
            RouterError: As `Limiter.reserve`, and those of inference.
        """
        answer = (request.sampling.max_tokens or self._answer_tokens) * request.sampling.n
        needs = needed_amounts(candidate, request.prompt_bytes, answer)
        hold = await self._limiter.reserve(context, {**ARRIVAL, **needs}, model=candidate.model)
        used, read, generated = None, 0, 0
        try:
            stream = self._runner.infer(candidate, request, context, begun)
            async with closing_stream(stream) as events:
                async for event in events:
                    match event:
                        case Started():
                            read = event.prompt_tokens
                        case Delta():
                            generated += event.tokens
                        case Finished():
                            used = event.usage
                    yield event
        except RouterError as error:
            if turned_away(error) and not generated:
                read = 0
            raise
        finally:
            used = used or Usage(read, generated)
            tokens = used.prompt_tokens + used.completion_tokens
            hold.settle(used_amounts(tokens, candidate.prices.cost(used)))


def _sum(needs: Sequence[_Needs]) -> _Needs:
    return {name: sum(one[name] for one in needs) for name in needs[0]}


def _most(needs: Sequence[_Needs]) -> _Needs:
    return {name: max(one[name] for one in needs) for name in needs[0]}


def _most_of_two(needs: Sequence[_Needs]) -> _Needs:
    """Return what two that stand next to each other need at most."""
    return _most([_sum(two) for two in pairwise(needs)])


def _cheaper(left: Sequence[tuple[Candidate, _Needs]]) -> list[tuple[Candidate, _Needs]]:
    """Return the candidates that need less than the dearest ones."""
    dearest = max(need[Resource.DOLLARS] for _, need in left)
    return [one for one in left if one[1][Resource.DOLLARS] < dearest]


def _with(plan: Plan, candidates: Sequence[Candidate]) -> Plan:
    """Return the plan with these of its candidates alone."""
    if len(candidates) == len(plan.candidates):
        return plan
    reason = plan.reason
    if candidates[0] != plan.candidates[0]:
        reason = _within_budget(replace(plan, candidates=tuple(candidates)), plan)
    return replace(plan, candidates=tuple(candidates), reason=reason)


def _within_budget(plan: Plan, dearer: Plan) -> str:
    return f"{plan.candidates[0].model} is within the budget, {dearer.candidates[0].model} is not"
