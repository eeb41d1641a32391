"""Channels that tell whom they call of the span they call for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmrouter.common.telemetry.names import SERVER_SPANS, Attribute, SpanName
from llmrouter.common.telemetry.spans import CURRENT
from llmrouter.common.telemetry.tracing import (
    LightSpan,
    SpanKind,
    Tracer,
    current_span,
    fail,
    outgoing_headers,
    span_active,
)

__all__ = ["TracedChannel"]

_NAMED_BY_CALLER = frozenset({SpanName.INFERENCE, SpanName.OUTCOME})
"""Whose calls have a span already, or are nobody's wait."""


class TracedChannel:
    """A channel for generated stubs, over a socket or in process: adds trace headers and spans.

    Interceptors would do over sockets only, and there they cost a task per call.
    """

    def __init__(self, channel: Any, tracer: Tracer) -> None:
        self._channel, self._tracer = channel, tracer

    def __getattr__(self, name: str) -> Any:
        """Be the channel in everything else."""
        return getattr(self._channel, name)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return the callable of a unary method."""
        start = self._channel.unary_unary(method, *args, **kwargs)
        name = SERVER_SPANS.get(method)
        if name is None or name in _NAMED_BY_CALLER:
            return _telling(start)
        told = {Attribute.RPC_SYSTEM: "grpc", Attribute.RPC_METHOD: method[1:]}

        def call(request: Any, *, metadata: Any = (), **options: Any) -> Any:
            # One that has ended still has below it what was left to be done behind the answer.
            if CURRENT.get() is None and not current_span().is_recording():
                return start(request, metadata=metadata, **options)
            span = self._tracer.start(name, told, kind=SpanKind.CLIENT)
            with span_active(span):
                going = start(request, metadata=(*metadata, *outgoing_headers()), **options)
            return _ended(going, span)

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return the callable of a server-streaming method; its caller has the span of it."""
        return _telling(self._channel.unary_stream(method, *args, **kwargs))


def _telling(start: Callable[..., Any]) -> Callable[..., Any]:
    def call(request: Any, *, metadata: Any = (), **options: Any) -> Any:
        return start(request, metadata=(*metadata, *outgoing_headers()), **options)

    return call


async def _ended(going: Any, span: LightSpan) -> Any:
    """Await a unary call and end its span with it."""
    try:
        return await going
    except BaseException as error:
        code = getattr(error, "code", None)
        fail(span, code().name if code is not None else "CANCELLED", type(error).__name__)
        raise
    finally:
        span.end()
