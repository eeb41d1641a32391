"""Lets a plan's shadows answer as well: for nobody, beside the request and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import GenerationEvent, Priority, RequestContext
from llmrouter.gateway.attempt import ModelRunner, Trial
from llmrouter.gateway.plan import Candidate, PlannedGenerator, PlannedRequest
from llmrouter.gateway.reporting import OutcomeReporter

__all__ = ["Shadowing"]

_MAX_AT_ONCE = 16
_log = structlog.get_logger("llmrouter.gateway.shadowing")


class Shadowing:
    """Starts the shadows of a plan and reports their outcomes; past a bound, they are left out.

    Args:
        runner: Inference.
        reporter: Tells the selector how shadows did.
        following: Answers the request itself.
    """

    def __init__(
        self, runner: ModelRunner, reporter: OutcomeReporter, following: PlannedGenerator
    ) -> None:
        self._runner, self._reporter, self._following = runner, reporter, following
        self._tasks: set[asyncio.Task[None]] = set()

    async def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Start the shadows and pass the answer on.

        Raises:
            RouterError: That of the answer itself.
        """
        for candidate in planned.plan.shadows:
            if len(self._tasks) < _MAX_AT_ONCE:
                task = asyncio.create_task(self._shadow(candidate, planned, context))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        async with closing_stream(self._following.generate(planned, context)) as events:
            async for event in events:
                yield event

    async def wait(self) -> None:
        """Return once every shadow started so far has ended."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """End every shadow; how far each came is reported."""
        for task in self._tasks:
            task.cancel()
        await self.wait()

    async def _shadow(
        self, candidate: Candidate, planned: PlannedRequest, context: RequestContext
    ) -> None:
        """Run one; it gives way to every request that somebody waits for."""
        trial = Trial(candidate, planned.request.prompt_bytes)
        behind = replace(context, priority=Priority.LOW, bill=None)
        request = replace(planned.request, priority=Priority.LOW)
        try:
            async with asyncio.timeout(context.remaining()):
                async with closing_stream(trial.run(self._runner, request, behind)) as events:
                    async for _ in events:
                        pass
        except (RouterError, TimeoutError) as error:
            _log.info("shadow failed", request_id=context.request_id, error=str(error))
        finally:
            self._reporter.report(planned.plan.id, (trial.outcome(),), context)
