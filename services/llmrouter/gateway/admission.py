"""Refuses what is out of bounds before anything is spent on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from llmrouter.common.errors import invalid
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
        similar: Whether answers to similar questions are kept here.
        tracer: None traces nothing.
    """

    def __init__(
        self, following: Generator, tracer: Tracer | None = None, *, similar: bool = False
    ) -> None:
        self._following = following
        self._tracer = tracer
        self._similar = similar

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Check the request, then return what answers it.

        Raises:
            RouterError: INVALID_ARGUMENT naming each wrong field.
        """
        with spanned(self._tracer, SpanName.ADMISSION):
            self._check(request)
        return self._following.generate(request, context)

    def _check(self, request: GenerationRequest) -> None:
        validate(request)
        if request.cache.similar and not self._similar:
            told = (
                "is true, and this gateway keeps no answers for similar questions; leave it out, "
            )
            raise invalid("cache.similar", f"{told}or set gateway.similar")
