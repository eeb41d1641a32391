"""FIRST_OF: tries the candidates in order until one answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import GenerationEvent, RequestContext
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.carrying import MOST_TRIALS, may_go_on, told, tried
from llmrouter.gateway.plan import PlannedRequest

__all__ = ["FirstOf"]


class FirstOf:
    """Streams the first candidate that has something to send; later failures are told."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner

    async def carry_out(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer; see `Carrier`."""
        left = list(planned.plan.candidates)
        while left:
            trial = Trial(left.pop(0), planned.request.prompt_bytes)
            trials.append(trial)
            try:
                stream = trial.run(self._runner, planned.request, context)
                reason = _reason(planned, trials)
                async with closing_stream(stream) as events:
                    async for event in events:
                        yield told(event, planned, context, trials, reason)
            except RouterError as error:
                failed = tried(trial)
                left = [one for one in left if not failed.fails_too(one)]
                last = not left or len(trials) >= MOST_TRIALS
                if last or not may_go_on(trial, error):
                    raise
            else:
                return


def _reason(planned: PlannedRequest, trials: Sequence[Trial]) -> str:
    if len(trials) == 1:
        return planned.plan.reason
    failed = ", ".join(
        f"{trial.candidate.model} ({trial.error.reason.value})"
        for trial in trials[:-1]
        if trial.error is not None
    )
    return f"{trials[-1].candidate.model} stands in for {failed}"
