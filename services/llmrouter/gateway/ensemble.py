"""ENSEMBLE: asks all candidates at once and gives the best of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from llmrouter.common.ensemble import Election
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import GenerationEvent, GenerationRequest, RequestContext
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import Held, hold, release
from llmrouter.gateway.judging import Judge, Judging
from llmrouter.gateway.plan import PlannedRequest
from llmrouter.gateway.voting import Ballot, Elected, by_confidence, by_vote

__all__ = ["Ensemble"]


class Ensemble:
    """Waits for every candidate, then elects one answer.

    A candidate that fails has no vote; a judge that fails leaves the choice to the vote.

    Args:
        runner: Inference.
        judging: Finds the judge that a request names.
    """

    def __init__(self, runner: ModelRunner, judging: Judging) -> None:
        self._runner, self._judging = runner, judging

    async def carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the elected answer; see `Carrier`."""
        wish = planned.request.routing.ensemble
        election = Election.VOTE if wish is None else wish.election
        judge: Judge | None = None
        if wish is not None and election is Election.JUDGE:
            # Before anybody is asked: a judge that does not exist is a mistake of the caller.
            judge = await self._judging.judge(wish.judge, planned.request, context)
        request = planned.request
        if election is Election.CONFIDENCE:
            request = replace(request, sampling=replace(request.sampling, logprobs=True))
        held = await self._all(planned, request, context, trials)
        elected = await self._elect(election, judge, held, context)
        winner = held[elected.winner]
        for place, one in enumerate(held):
            if place != elected.winner:
                one.trial.set_aside = "another answer was elected"
        if judge is not None:
            trials.extend(judge.trials)
        reason = _reason(winner, elected, len(held), len(planned.plan.candidates))
        for event in release(winner, planned, context, trials, reason):
            yield event

    async def _all(
        self,
        planned: PlannedRequest,
        request: GenerationRequest,
        context: RequestContext,
        trials: list[Trial],
    ) -> list[Held]:
        """Return the answers in the plan's order.

        Raises:
            RouterError: Nobody answered: what the first one failed with.
        """
        asked = [
            Trial(candidate, request.prompt_bytes, held=True)
            for candidate in planned.plan.candidates
        ]
        trials.extend(asked)
        tasks = [
            asyncio.create_task(hold(trial, self._runner, request, context)) for trial in asked
        ]
        try:
            found = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        held = [one for one in found if isinstance(one, Held)]
        failed = [one for one in found if isinstance(one, BaseException)]
        unforeseen = [one for one in failed if not isinstance(one, RouterError)]
        if unforeseen or not held:
            raise (unforeseen or failed)[0]
        return held

    async def _elect(
        self,
        election: Election,
        judge: Judge | None,
        held: Sequence[Held],
        context: RequestContext,
    ) -> Elected:
        ballots = [_ballot(one) for one in held]
        if judge is not None and len(ballots) > 1:
            return await judge.elect(ballots, context)
        ways: dict[Election, Callable[[Sequence[Ballot]], Elected]] = {
            Election.CONFIDENCE: by_confidence
        }
        elected = ways.get(election, by_vote)(ballots)
        for one, ballot in zip(held, ballots, strict=True):
            one.trial.confidence = ballot.sureness if ballot.logprobs else None
        return elected


def _ballot(held: Held) -> Ballot:
    choice, trial = held.choices[0], held.trial
    usage = trial.finished.usage if trial.finished else None
    cost = 0.0 if usage is None else trial.candidate.prices.cost(usage)
    logprobs = tuple(one.logprob for one in choice.logprobs)
    return Ballot(trial.candidate.model, choice.text, logprobs, cost)


def _reason(winner: Held, elected: Elected, answered: int, asked: int) -> str:
    missing = f"; {asked - answered} of {asked} did not answer" if answered < asked else ""
    return f"{winner.trial.candidate.model} was elected: {elected.reason}{missing}"
