"""CASCADE: asks cheap models first, and the next one unless the answer is sure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import GenerationEvent, GenerationRequest, RequestContext
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import MAX_TRIALS, Held, hold, may_go_on, release, told
from llmrouter.gateway.cascade import CascadePolicy, Verdict, judge
from llmrouter.gateway.plan import PlannedRequest

__all__ = ["Cascading"]


class Cascading:
    """Keeps every answer but the last one back until it is judged; the last one streams.

    Where the models behind an unsure answer fail, that answer is given after all, and says so.
    """

    def __init__(self, runner: ModelRunner, policy: CascadePolicy) -> None:
        self._runner, self._policy = runner, policy

    async def carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer; see `Carrier`."""
        policy = self._policy_for(planned.request)
        judged = replace(planned.request, sampling=replace(planned.request.sampling, logprobs=True))
        *stages, last = planned.plan.candidates
        unsure: list[Held] = []
        for candidate in stages:
            trial = Trial(candidate, planned.request.prompt_bytes, held=True)
            trials.append(trial)
            try:
                held = await hold(trial, self._runner, judged, context)
            except RouterError as error:
                if len(trials) >= MAX_TRIALS or not may_go_on(trial, error):
                    raise
                continue
            verdict = _judge(held, policy)
            trial.confidence = verdict.confidence
            if not verdict.escalate:
                reason = f"{candidate.model} is sure enough: {verdict.reason}"
                for event in release(held, planned, context, trials, reason):
                    yield event
                return
            trial.set_aside = verdict.reason
            unsure.append(held)
        trial = Trial(last, planned.request.prompt_bytes)
        trials.append(trial)
        try:
            reason = _reason(trials, planned.plan.reason)
            stream = trial.run(self._runner, planned.request, context)
            async with closing_stream(stream) as events:
                async for event in events:
                    yield told(event, planned, context, trials, reason)
        except RouterError as error:
            if not unsure or not may_go_on(trial, error):
                raise
            best = max(unsure, key=lambda one: one.trial.confidence or 0.0)
            reason = _second_best(best, error)
            for event in release(best, planned, context, trials, reason):
                yield event

    def _policy_for(self, request: GenerationRequest) -> CascadePolicy:
        wish = request.routing.min_confidence
        return replace(self._policy, threshold=wish) if wish else self._policy


def _judge(held: Held, policy: CascadePolicy) -> Verdict:
    """Judge the least sure of an answer's choices."""
    verdicts = [
        judge([one.logprob for one in choice.logprobs], choice.reason, policy)
        for choice in held.choices
    ]
    return min(verdicts, key=lambda one: (not one.escalate, one.confidence))


def _reason(trials: list[Trial], planned: str) -> str:
    before = [
        f"{one.candidate.model}'s {one.set_aside}"
        if one.error is None
        else f"{one.candidate.model} failed ({one.error.reason.value})"
        for one in trials[:-1]
    ]
    asked = trials[-1].candidate.model
    return f"{asked} was asked in the end: {'; '.join(before)}" if before else planned


def _second_best(held: Held, error: RouterError) -> str:
    held.trial.set_aside = ""
    found = held.trial.confidence or 0.0
    return (
        f"{held.trial.candidate.model} is not sure (confidence {found:.2f}), but nobody behind it "
        f"could answer ({error.reason.value})"
    )
