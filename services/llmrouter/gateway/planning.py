"""Asks the selector who is to answer, so that model and version are fixed from here on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationEvent, GenerationRequest, RequestContext
from llmrouter.gateway.plan import Plan, PlannedGenerator, PlannedRequest

__all__ = ["Planning", "Selector"]


class Selector(Protocol):
    """What planning needs of the selector."""

    async def select(self, request: GenerationRequest, context: RequestContext) -> Plan:
        """Return the plan for one request.

        Raises:
            RouterError: No model fits, a name is unknown, or the selector did not answer.
        """
        ...


class Planning:
    """Turns a request into a planned one."""

    def __init__(self, selector: Selector, following: PlannedGenerator) -> None:
        self._selector = selector
        self._following = following

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Get a plan and put it down in the bill, then pass the events on.

        Raises:
            RouterError: There is no plan.
        """
        plan = await self._selector.select(request, context)
        if context.bill is not None:
            # The record needs it however this ends: who gives up hands no error on.
            context.bill.plan = (plan.id, plan.reason)
        if not plan.candidates:
            raise RouterError(Reason.NO_CANDIDATE, "the selector named no model for this request")
        planned = PlannedRequest(request, plan)
        async with closing_stream(self._following.generate(planned, context)) as events:
            async for event in events:
                yield event
