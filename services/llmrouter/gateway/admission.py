"""Refuses what is out of bounds before anything is spent on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llmrouter.common.closing import closing_stream
from llmrouter.common.generation import (
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
)
from llmrouter.common.telemetry.names import SpanName
from llmrouter.common.telemetry.tracing import Tracer, spanned
from llmrouter.common.validation import validate

__all__ = ["Admission"]


class Admission:
    """Lets valid requests in.

    Args:
        following: Answers them.
        tracer: None traces nothing.
    """

    def __init__(self, following: Generator, tracer: Tracer | None = None) -> None:
        self._following = following
        self._tracer = tracer

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Check the request, then pass the events on.

        Raises:
            RouterError: INVALID_ARGUMENT naming each wrong field.
        """
        with spanned(self._tracer, SpanName.ADMISSION):
            validate(request)
        async with closing_stream(self._following.generate(request, context)) as events:
            async for event in events:
                yield event
