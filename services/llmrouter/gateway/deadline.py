"""Ends a request whose deadline has passed, whoever is slow behind this link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
)

__all__ = ["Deadline"]


class Deadline:
    """Bounds each wait for the next event by the request's deadline.

    A timeout is never held open across a `yield`: there it would cancel the reader instead.
    """

    def __init__(self, following: Generator) -> None:
        self._following = following

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on.

        Raises:
            RouterError: DEADLINE_EXCEEDED once the deadline has passed.
        """
        async with closing_stream(self._following.generate(request, context)) as events:
            while True:
                event = await _next(events, context)
                if event is None:
                    return
                yield event


async def _next(
    events: AsyncIterator[GenerationEvent], context: RequestContext
) -> GenerationEvent | None:
    limit = asyncio.timeout(context.remaining())
    try:
        async with limit:
            return await anext(events, None)
    except TimeoutError:
        if not limit.expired():
            raise
        message = "the request's deadline passed before its answer was complete"
        raise RouterError(Reason.DEADLINE_EXCEEDED, message) from None
