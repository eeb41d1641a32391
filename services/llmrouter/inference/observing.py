"""Generations as telemetry sees them: spans from the engine's own clock, and its instruments."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import Finished, GenerationEvent, GenerationRequest, Started
from llmrouter.common.telemetry.metering import Meter
from llmrouter.common.telemetry.names import Attribute, Name, SpanName
from llmrouter.common.telemetry.tracing import SpanKind, Tracer, current_span, fail

__all__ = ["GenerationObserver"]

_PROVIDER = "llmrouter"


class GenerationObserver:
    """Watches generations on their way out, in the tasks of their calls.

    Args:
        tracer: None traces nothing.
        meter: None measures nothing.
    """

    def __init__(self, tracer: Tracer | None, meter: Meter | None) -> None:
        self._tracer, self._meter = tracer, meter

    async def watch(
        self,
        events: AsyncIterator[GenerationEvent],
        model: str,
        request: GenerationRequest,
        *,
        provider: str = "",
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events of one generation on.

        Args:
            events: The generation.
            model: Its model.
            request: What was asked.
            provider: Who generates, where that is a provider: its call is a span of its own.

        Raises:
            RouterError: That of the generation.
        """
        began, submitted_ns = time.monotonic(), 0
        finished: Finished | None = None
        operation = "chat" if request.messages else "text_completion"
        told = _labels(operation, model, provider)
        calling = None
        if provider and self._tracer is not None:
            name = f"{SpanName.PROVIDER} {model}"
            calling = self._tracer.start(name, told, kind=SpanKind.CLIENT)
        try:
            async with closing_stream(events) as stream:
                async for event in stream:
                    yield event
                    if isinstance(event, Started):
                        # The engine gets the request when its next event is asked for: now.
                        submitted_ns = time.time_ns()
                    elif isinstance(event, Finished):
                        finished = event
        except RouterError as error:
            if calling is not None:
                fail(calling, error.reason.value, error.message)
            raise
        finally:
            if calling is not None:
                calling.end()
            if self._meter is not None:
                seconds = time.monotonic() - began
                _measure(self._meter, told, seconds, finished, request.sampling.n)
            if self._tracer is not None and finished is not None:
                _trace(self._tracer, told, 0 if provider else submitted_ns, finished)


def _labels(operation: str, model: str, provider: str) -> dict[str, str]:
    return {
        Attribute.OPERATION: operation,
        Attribute.PROVIDER: provider or _PROVIDER,
        Attribute.REQUEST_MODEL: model,
    }


def _measure(
    meter: Meter,
    told: dict[str, str],
    seconds: float,
    finished: Finished | None,
    choices: int,
) -> None:
    if finished is None:
        meter.record(Name.SERVER_DURATION, seconds, {**told, Attribute.ERROR: "unfinished"})
        return
    timings = finished.timings
    meter.record(Name.SERVER_DURATION, seconds, told)
    meter.record(Name.SERVER_FIRST_TOKEN, timings.time_to_first_token, told)
    meter.record(Name.QUEUE_TIME, timings.queue, {"model": told[Attribute.REQUEST_MODEL]})
    later = finished.usage.completion_tokens / choices - 1
    if later > 0:
        meter.record(Name.SERVER_PER_TOKEN, timings.decode / later, told)


def _trace(tracer: Tracer, told: dict[str, str], submitted_ns: int, finished: Finished) -> None:
    """Write queue, prefill and decode below the call's span, where the engine says they were.

    A provider's are not known: its call, for which `submitted_ns` is 0, is one span.
    """
    span = current_span()
    if not span.is_recording():
        return
    usage, timings = finished.usage, finished.timings
    span.set_attributes(
        {
            **told,
            Attribute.RESPONSE_MODEL: told[Attribute.REQUEST_MODEL],
            Attribute.INPUT_TOKENS: usage.prompt_tokens,
            Attribute.OUTPUT_TOKENS: usage.completion_tokens,
            Attribute.CACHED_TOKENS: usage.cached_prompt_tokens,
        }
    )
    if not submitted_ns:
        return
    prefilled = timings.queue + timings.prefill
    first = max(prefilled, timings.time_to_first_token)
    for name, begin, end in (
        (SpanName.QUEUE, 0.0, timings.queue),
        (SpanName.PREFILL, timings.queue, prefilled),
        (SpanName.DECODE, first, first + timings.decode),
    ):
        part = tracer.start(name, start_ns=submitted_ns + round(begin * 1e9))
        part.end(submitted_ns + round(end * 1e9))
