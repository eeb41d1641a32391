"""Tells the selector how attempts went, beside the stream and never in its way."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.plan import Outcome

__all__ = ["BackgroundReporter", "OutcomeClient", "OutcomeReporter"]

_MAX_WAITING = 1024
_CLOSE_SECONDS = 2.0
_log = structlog.get_logger("llmrouter.gateway.reporting")


class OutcomeReporter(Protocol):
    """What execution needs in order to report."""

    def report(self, plan_id: str, outcomes: tuple[Outcome, ...], context: RequestContext) -> None:
        """Take outcomes in at once; they are sent later, or dropped."""
        ...


class OutcomeClient(Protocol):
    """What reporting needs of the selector."""

    async def report_outcome(
        self, plan_id: str, outcomes: tuple[Outcome, ...], context: RequestContext
    ) -> None:
        """Send the outcomes of one plan."""
        ...


class BackgroundReporter:
    """Sends each report in a task of its own; past a bound, reports are dropped."""

    def __init__(self, client: OutcomeClient) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()

    def report(self, plan_id: str, outcomes: tuple[Outcome, ...], context: RequestContext) -> None:
        """Start sending; statistics are not worth a request's time or its failure."""
        if len(self._tasks) >= _MAX_WAITING:
            _log.warning("outcome dropped", request_id=context.request_id, waiting=_MAX_WAITING)
            return
        task = asyncio.create_task(self._send(plan_id, outcomes, context))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Return once every report taken in so far is sent or has failed."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Send what was taken in; what takes longer than a moment is dropped."""
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()

    async def _send(
        self, plan_id: str, outcomes: tuple[Outcome, ...], context: RequestContext
    ) -> None:
        try:
            await self._client.report_outcome(plan_id, outcomes, context)
        except RouterError as error:
            _log.warning("outcome not taken", request_id=context.request_id, error=error.message)
