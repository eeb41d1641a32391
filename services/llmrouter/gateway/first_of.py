"""FIRST_OF: tries the candidates in order until one answers, or goes on with what was answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Switching
from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import GenerationEvent, GenerationRequest, RequestContext
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import MOST_TRIALS, told, tried
from llmrouter.gateway.continuing import begun_for, broken_off, may_be_gone_on_with
from llmrouter.gateway.plan import Candidate, PlannedRequest

__all__ = ["FirstOf"]


class FirstOf:
    """Streams the first candidate that has something to send.

    Once something was sent, the others may but go on with it.

    Args:
        runner: Inference.
        switching: Who may go on with an answer at most.
    """

    def __init__(self, runner: ModelRunner, switching: Switching = Switching.ANY) -> None:
        self._runner, self._switching = runner, switching

    async def carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer; see `Carrier`."""
        left, request = list(planned.plan.candidates), planned.request
        error = RouterError(Reason.MODEL_UNAVAILABLE, "no model of the plan can answer")
        while left and len(trials) < MOST_TRIALS:
            trial = self._next(left, request, trials)
            if trial is None:
                break
            trials.append(trial)
            try:
                stream = trial.run(self._runner, request, context)
                reason = _reason(planned, trials)
                async with closing_stream(stream) as events:
                    async for event in events:
                        yield told(event, planned, context, trials, reason)
            except RouterError as failure:
                error, failed = failure, tried(trial)
                left = [one for one in left if not failed.fails_too(one)]
                if failure.retry is Retry.NEVER:
                    break
            else:
                return
        raise broken_off(trials) or error

    def _next(
        self, left: list[Candidate], request: GenerationRequest, trials: Sequence[Trial]
    ) -> Trial | None:
        """Return the next try, and take its candidate off the list; None where there is none."""
        sent = [trial for trial in trials if trial.sent]
        if not sent:
            return Trial(left.pop(0), request.prompt_bytes)
        if not may_be_gone_on_with(request, trials, self._switching):
            return None
        lost = (sent[-1].candidate.model, sent[-1].version)
        left.sort(key=lambda one: (one.model, one.version) != lost)
        while left:
            candidate = left.pop(0)
            begun = begun_for(candidate, request, trials, self._switching)
            if begun is not None:
                return Trial(candidate, request.prompt_bytes, begun=begun)
        return None


def _reason(planned: PlannedRequest, trials: Sequence[Trial]) -> str:
    if len(trials) == 1:
        return planned.plan.reason
    failed = ", ".join(
        f"{trial.candidate.model} ({trial.error.reason.value})"
        for trial in trials[:-1]
        if trial.error is not None
    )
    return f"{trials[-1].candidate.model} stands in for {failed}"
