"""Carries a plan out: FIRST_OF tries the candidates in order until one answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Retry, RouterError
from llmrouter.common.generation import Finished, GenerationEvent, RequestContext, Started
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.plan import PlannedRequest
from llmrouter.gateway.reporting import OutcomeReporter

__all__ = ["Execution"]


class Execution:
    """Tries candidates while nothing was sent, tells all attempts and reports their outcomes."""

    def __init__(self, runner: ModelRunner, reporter: OutcomeReporter) -> None:
        self._runner = runner
        self._reporter = reporter

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the answer of the first candidate that gives one.

        Raises:
            RouterError: That of the last candidate tried, with the count in `attempts`.
        """
        trials: list[Trial] = []
        try:
            async with closing_stream(self._first_of(planned, context, trials)) as events:
                async for event in events:
                    yield event
        except RouterError as error:
            error.metadata["attempts"] = str(len(trials))
            raise
        finally:
            outcomes = tuple(trial.outcome() for trial in trials)
            self._reporter.report(planned.plan.id, outcomes, context)

    async def _first_of(
        self, planned: PlannedRequest, context: RequestContext, trials: list[Trial]
    ) -> AsyncIterator[GenerationEvent]:
        candidates = planned.plan.candidates
        for candidate in candidates:
            trial = Trial(candidate, planned.request.prompt_bytes)
            trials.append(trial)
            sent = False
            try:
                stream = trial.run(self._runner, planned.request, context)
                async with closing_stream(stream) as events:
                    async for event in events:
                        sent = True
                        yield _told(event, planned, context, trials)
            except RouterError as error:
                last = len(trials) == len(candidates)
                if sent or last or error.retry is Retry.NEVER:
                    raise
            else:
                return


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
