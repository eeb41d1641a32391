"""FIRST_OF: tries the candidates in order until one answers, or goes on with what was answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Switching
from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import (
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Started,
)
from llmrouter.gateway.adjusting import adjustment, asked
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import MAX_TRIALS, told, tried
from llmrouter.gateway.continuing import begun_for, broken_off, may_be_gone_on_with
from llmrouter.gateway.hedging import hedged
from llmrouter.gateway.plan import Candidate, PlannedRequest
from llmrouter.gateway.retrying import Retrying

__all__ = ["FirstOf"]


class FirstOf:
    """Streams the first candidate that has something to send.

    Once something was sent, the others may but go on with it. Where the plan says so, the second is
    asked beside the first when that is slow to begin.

    Args:
        runner: Inference.
        switching: Who may go on with an answer at most.
        retrying: Says whether one more may be asked beside another.
    """

    def __init__(self, runner: ModelRunner, switching: Switching, retrying: Retrying) -> None:
        self._runner, self._switching, self._retrying = runner, switching, retrying

    async def carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer; see `Carrier`."""
        left, request = list(planned.plan.candidates), planned.request
        error = RouterError(Reason.MODEL_UNAVAILABLE, "no model of the plan can answer")
        while left and len(trials) < MAX_TRIALS:
            trial = self._next(left, request, trials)
            if trial is None:
                break
            begin = len(trials)
            trials.append(trial)
            try:
                stream = self._stream(planned, context, trials, left)
                async with closing_stream(stream) as events:
                    async for event in events:
                        reason = _reason(planned, trials) if isinstance(event, Started) else ""
                        yield told(event, planned, context, trials, reason)
            except RouterError as failure:
                error = failure
                for failed in map(tried, trials[begin:]):
                    left = [one for one in left if not failed.fails_too(one)]
                # Whoever was only slower is asked again once there is nobody else.
                left += [one.candidate for one in trials[begin:] if one.set_aside]
                if failure.retry is Retry.NEVER:
                    break
            else:
                return
        raise broken_off(trials) or error

    def _stream(
        self,
        planned: PlannedRequest,
        context: RequestContext,
        trials: list[Trial],
        left: list[Candidate],
    ) -> AsyncIterator[GenerationEvent]:
        """Return the events of the last try, or of one that is asked beside it."""

        def run(trial: Trial) -> AsyncGenerator[GenerationEvent]:
            request, asker = asked(planned.request, context, trial)
            return trial.run(self._runner, request, asker)

        def second() -> Trial | None:
            if len(trials) >= MAX_TRIALS or not left:
                return None
            if not self._retrying.grants([left[0].model]):
                return None
            change, size = adjustment(planned.request, trials), planned.request.prompt_bytes
            return Trial(left.pop(0), size, adjustment=change, hedge=True)

        after = planned.plan.hedge_after
        if after is None or not left or any(trial.sent for trial in trials):
            return run(trials[-1])
        return hedged(trials, run, after, second)

    def _next(
        self, left: list[Candidate], request: GenerationRequest, trials: Sequence[Trial]
    ) -> Trial | None:
        """Return the next try, and take its candidate off the list; None where there is none."""
        sent = [trial for trial in trials if trial.sent]
        if not sent:
            change = adjustment(request, trials)
            return Trial(left.pop(0), request.prompt_bytes, adjustment=change)
        if not may_be_gone_on_with(request, trials, self._switching):
            return None
        lost = (sent[-1].candidate.model, sent[-1].version)
        left.sort(key=lambda one: (one.model, one.version) != lost)
        while left:
            candidate = left.pop(0)
            begun = begun_for(candidate, request, trials, self._switching)
            if begun is not None:
                change = adjustment(request, trials)
                return Trial(candidate, request.prompt_bytes, begun=begun, adjustment=change)
        return None


def _reason(planned: PlannedRequest, trials: Sequence[Trial]) -> str:
    now, before = trials[-1].candidate.model, trials[:-1]
    failed = [one for one in before if one.error is not None and not one.set_aside]
    if not all(one.hedge for one in failed):
        told = (f"{one.candidate.model} ({one.error.reason.value})" for one in failed if one.error)
        return f"{now} stands in for {', '.join(told)}"
    slow = next((one for one in before if one.set_aside and not one.hedge), None)
    if slow is None:
        return planned.plan.reason
    return f"{now} began earlier than {slow.candidate.model}"
