"""Spans: what was done for one request, where, and how long it took.

The span of a call is current in the call's own task, so that logs and exemplars find it. Others
are made current around single awaits only: an async generator shares its reader's context, and
what it made current across a `yield` would be so for its reader too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as ApiTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llmrouter.common.errors import Reason
from llmrouter.common.telemetry.keeping import Drafts
from llmrouter.common.telemetry.names import Attribute

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

__all__ = ["Attributes", "Span", "SpanKind", "Tracer", "current_ids", "current_span", "fail",
           "outgoing_headers", "span_active", "spanned"]  # fmt: skip

Attributes = Mapping[str, "AttributeValue"]
_PROPAGATOR = TraceContextTextMapPropagator()
_HEADERS = frozenset({"traceparent", "tracestate"})
_NO_FAULT = frozenset({Reason.CANCELLED.value})
"""Ends that are nobody's error."""


class Tracer:
    """Begins spans: OpenTelemetry's own in traces that were drawn, drafts in all others.

    Args:
        tracer: OpenTelemetry's.
        drafts: Where traces go that were not drawn.
        share: Of the traces that begin here, how many are drawn; 0 to 1. One that comes with a
            caller is drawn if the caller's is.
        content: Whether spans may hold prompts and answers.
    """

    def __init__(
        self, tracer: ApiTracer, drafts: Drafts, *, share: float = 1.0, content: bool = False
    ) -> None:
        self._tracer, self._drafts, self._share = tracer, drafts, share
        self.content = content

    def start(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        start_ns: int | None = None,
        parent: Span | None = None,
    ) -> Span:
        """Return a new span below `parent`, or below the current one; its maker ends it."""
        above = get_current_span() if parent is None else parent
        context = above.get_span_context()
        drawn = context.trace_flags.sampled if context.is_valid else self._draw()
        if not drawn:
            known = context if context.is_valid else None
            return self._drafts.start(name, known, kind, attributes, start_ns)
        below = set_span_in_context(above)
        return self._tracer.start_span(name, below, kind, attributes, start_time=start_ns)

    def _draw(self) -> bool:
        return random.random() < self._share  # noqa: S311 - a share, no secret

    def receive(
        self, name: str, headers: Mapping[str, str], attributes: Attributes | None = None
    ) -> Span:
        """Return the span of a call that came in, current in this task from here on."""
        above: Span = INVALID_SPAN
        if headers:
            above = get_current_span(_PROPAGATOR.extract(headers, otel_context.Context()))
        span = self.start(name, attributes, kind=SpanKind.SERVER, parent=above)
        otel_context.attach(set_span_in_context(span))
        return span

    @contextmanager
    def span(
        self, name: str, attributes: Attributes | None = None, kind: SpanKind = SpanKind.INTERNAL
    ) -> Iterator[Span]:
        """Have a span while the block runs, current in it; no `yield` may be inside."""
        span = self.start(name, attributes, kind=kind)
        try:
            with span_active(span):
                yield span
        except BaseException as error:
            fail(span, getattr(error, "reason", type(error).__name__), str(error))
            raise
        finally:
            span.end()


def spanned(tracer: Tracer | None, name: str) -> AbstractContextManager[Span | None]:
    """Have a span while the block runs, as `Tracer.span`; none without a tracer."""
    return nullcontext() if tracer is None else tracer.span(name)


def current_span() -> Span:
    """Return the span of the call that runs; one that takes nothing in where there is none."""
    return get_current_span()


def span_active(span: Span | None) -> AbstractContextManager[None]:
    """Make a span current while the block runs, which may not `yield`; None changes nothing."""
    return nullcontext() if span is None else _Active(span)


class _Active:
    """What `span_active` enters: a generator would cost as much again as what it does."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = otel_context.attach(set_span_in_context(self._span))

    def __exit__(self, *_: object) -> None:
        otel_context.detach(self._token)


def fail(span: Span, reason: str, message: str = "") -> None:
    """Note on a span how it failed."""
    if reason in _NO_FAULT:
        span.set_attribute(Attribute.ERROR, reason)
        return
    span.set_attribute(Attribute.ERROR, reason)
    span.set_status(Status(StatusCode.ERROR, message or reason))


def outgoing_headers() -> tuple[tuple[str, str], ...]:
    """Return what tells the service that is called of the current span (W3C Trace Context)."""
    span = get_current_span()
    if span is INVALID_SPAN:
        return ()
    context = span.get_span_context()
    if not context.is_valid:
        return ()
    told = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    if not context.trace_state:
        return (("traceparent", told),)
    return (("traceparent", told), ("tracestate", context.trace_state.to_header()))


def trace_headers(metadata: object) -> dict[str, str]:
    """Return the part of a call's metadata that tells of its caller's span."""
    return {
        key: value
        for key, value in metadata or ()  # type: ignore[attr-defined]
        if key in _HEADERS and isinstance(value, str)
    }


def current_ids() -> tuple[str, str] | None:
    """Return trace and span as hexadecimal digits; None where there is none."""
    context: SpanContext = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
