"""Spans: what was done for one request, where, and how long it took.

The span of a call is current in the call's own task, so that logs and exemplars find it. Others
are made current around single awaits only: an async generator shares its reader's context, and
what it made current across a `yield` would be so for its reader too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llmrouter.common.errors import Reason
from llmrouter.common.telemetry.keeping import SpanKeeper
from llmrouter.common.telemetry.names import Attribute
from llmrouter.common.telemetry.spans import CURRENT, LightSpan

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

__all__ = ["Attributes", "LightSpan", "Span", "SpanKind", "Tracer", "current_ids", "current_span",
           "fail", "outgoing_headers", "span_active", "spanned"]  # fmt: skip

Attributes = Mapping[str, "AttributeValue"]
_PROPAGATOR = TraceContextTextMapPropagator()
_HEADERS = frozenset({"traceparent", "tracestate"})
_NO_FAULT = frozenset({Reason.CANCELLED.value})
"""Ends that are nobody's error."""


class Tracer:
    """Begins spans.

    Args:
        keeper: Where they go, and what becomes of them.
        share: Of the traces that begin here, how many are drawn; 0 to 1. One that comes with a
            caller is drawn if the caller's is.
        content: Whether spans may hold prompts and answers.
    """

    def __init__(self, keeper: SpanKeeper, *, share: float = 1.0, content: bool = False) -> None:
        self._keeper, self._share = keeper, share
        self.content = content

    def start(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        start_ns: int = 0,
        parent: Span | None = None,
    ) -> LightSpan:
        """Return a new span below `parent`, or below the current one; its maker ends it."""
        above = current_span() if parent is None else parent
        if isinstance(above, LightSpan):
            return self._keeper.start(name, above, kind, attributes, start_ns, drawn=above.drawn)
        context = above.get_span_context()
        known = context if context.is_valid else None
        drawn = context.trace_flags.sampled if context.is_valid else self._draw()
        return self._keeper.start(name, known, kind, attributes, start_ns, drawn=drawn)

    def _draw(self) -> bool:
        return random.random() < self._share  # noqa: S311 - a share, no secret

    def receive(
        self, name: str, headers: Mapping[str, str], attributes: Attributes | None = None
    ) -> LightSpan:
        """Return the span of a call that came in, current in this task from here on."""
        above: Span = INVALID_SPAN
        if headers:
            above = get_current_span(_PROPAGATOR.extract(headers, otel_context.Context()))
        span = self.start(name, attributes, kind=SpanKind.SERVER, parent=above)
        CURRENT.set(span)
        return span

    def span(
        self, name: str, attributes: Attributes | None = None, kind: SpanKind = SpanKind.INTERNAL
    ) -> AbstractContextManager[LightSpan]:
        """Have a span while the block runs, current in it; no `yield` may be inside."""
        return _Spanned(self.start(name, attributes, kind=kind))


def spanned(tracer: Tracer | None, name: str) -> AbstractContextManager[LightSpan | None]:
    """Have a span while the block runs, as `Tracer.span`; none without a tracer."""
    return nullcontext() if tracer is None else tracer.span(name)


def current_span() -> Span:
    """Return the span of the call that runs; one that takes nothing in where there is none."""
    return CURRENT.get() or get_current_span()


def span_active(span: LightSpan | None) -> AbstractContextManager[None]:
    """Make a span current while the block runs, which may not `yield`; None changes nothing."""
    return nullcontext() if span is None else _Active(span)


class _Active:
    """What `span_active` enters: a generator would cost as much again as what it does."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: LightSpan) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = CURRENT.set(self._span)

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)


class _Spanned:
    """What `Tracer.span` returns: the span is current, and ends with the block."""

    __slots__ = ("_active", "_span")

    def __init__(self, span: LightSpan) -> None:
        self._span, self._active = span, _Active(span)

    def __enter__(self) -> LightSpan:
        self._active.__enter__()
        return self._span

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._active.__exit__()
        if error is not None:
            fail(self._span, getattr(error, "reason", type(error).__name__), str(error))
        self._span.end()


def fail(span: Span, reason: str, message: str = "") -> None:
    """Note on a span how it failed."""
    if reason in _NO_FAULT:
        span.set_attribute(Attribute.ERROR, reason)
        return
    span.set_attribute(Attribute.ERROR, reason)
    span.set_status(Status(StatusCode.ERROR, message or reason))


def outgoing_headers() -> tuple[tuple[str, str], ...]:
    """Return what tells the service that is called of the current span (W3C Trace Context)."""
    span = CURRENT.get()
    if span is None:
        return ()
    told = f"00-{span.trace_id:032x}-{span.span_id:016x}-{'01' if span.drawn else '00'}"
    if not span.trace_state:
        return (("traceparent", told),)
    return (("traceparent", told), ("tracestate", span.trace_state.to_header()))


def trace_headers(metadata: object) -> dict[str, str]:
    """Return the part of a call's metadata that tells of its caller's span."""
    return {
        key: value
        for key, value in metadata or ()  # type: ignore[attr-defined]  # pairs of whichever transport
        if key in _HEADERS and isinstance(value, str)
    }


def current_ids() -> tuple[str, str] | None:
    """Return trace and span as hexadecimal digits; None where there is none."""
    span = current_span()
    ids = span if isinstance(span, LightSpan) else span.get_span_context()
    return (f"{ids.trace_id:032x}", f"{ids.span_id:016x}") if ids.trace_id else None
