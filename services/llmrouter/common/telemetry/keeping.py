"""Which traces leave the process: those that were drawn, and those that failed or were slow."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

__all__ = ["KeepingProcessor", "RecordingSampler"]


class RecordingSampler(Sampler):
    """Draws a share of the traces, by the caller's draw where there is one; the rest is recorded.

    Args:
        share: Of those that begin here; 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._drawn = ParentBased(TraceIdRatioBased(share))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return RECORD_ONLY for what was not drawn, so that it may still be kept."""
        result = self._drawn.should_sample(
            parent_context, trace_id, name, kind, attributes, links
        )  # fmt: skip
        if result.decision is not Decision.DROP:
            return result
        return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)

    def get_description(self) -> str:
        """Name it."""
        return "Recording"


@dataclass(slots=True)
class _Trace:
    """What this process has recorded of a trace that was not drawn."""

    spans: list[ReadableSpan] = field(default_factory=list)
    open_roots: int = 0
    """Spans without a parent in this process that have not ended."""
    notable: bool = False


class KeepingProcessor(SpanProcessor):
    """Hands on spans that were drawn; of the others, whole traces once they prove notable.

    Decided in this process when the last of its calls for the trace ends: notable is a trace with
    an error, or with a call slower than a bound. Past `most` spans the oldest trace is let go.

    Args:
        following: Takes what leaves.
        slow_seconds: What is slower is kept.
        most: Spans recorded at once.
    """

    def __init__(self, following: SpanProcessor, slow_seconds: float, most: int = 8192) -> None:
        self._following = following
        self._slow_ns = int(slow_seconds * 1e9)
        self._most = most
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Spans that are recorded and not decided on."""
        return self._held

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Begin to record a trace."""
        context = span.get_span_context()
        if context.trace_flags.sampled or not _is_root(span):
            return
        with self._lock:
            trace = self._traces.get(context.trace_id)
            if trace is None:
                trace = self._traces[context.trace_id] = _Trace()
                if len(self._traces) > self._most:
                    self._let_go()
            trace.open_roots += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Hand a drawn span on; record another, and decide with the last root."""
        context = span.context
        if context is None:
            return
        if context.trace_flags.sampled:
            self._following.on_end(span)
            return
        for kept in self._recorded(span, context):
            self._following.on_end(_as_sampled(kept))

    def _recorded(self, span: ReadableSpan, context: SpanContext) -> list[ReadableSpan]:
        """Take a span in; return those that are to leave now."""
        with self._lock:
            trace = self._traces.get(context.trace_id)
            if trace is None:
                return []  # let go, or ended after the call that it belongs to
            trace.spans.append(span)
            self._held += 1
            root = _is_root(span)
            trace.open_roots -= root
            trace.notable |= span.status.status_code is StatusCode.ERROR
            if root and span.start_time and span.end_time:
                trace.notable |= span.end_time - span.start_time > self._slow_ns
            if not trace.open_roots:
                del self._traces[context.trace_id]
                self._held -= len(trace.spans)
                return trace.spans if trace.notable else []
            while self._held > self._most:
                self._let_go()
            return []

    def _let_go(self) -> None:
        _, trace = self._traces.popitem(last=False)
        self._held -= len(trace.spans)

    def shutdown(self) -> None:
        """Send what may still be sent."""
        self._following.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send now what is to leave."""
        return self._following.force_flush(timeout_millis)


def _is_root(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def _as_sampled(span: ReadableSpan) -> ReadableSpan:
    """Return a span as one that was drawn: exporters leave the others out."""
    context = span.context
    drawn = None
    if context is not None:
        flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
        drawn = SpanContext(
            context.trace_id, context.span_id, context.is_remote, flags, context.trace_state
        )
    return ReadableSpan(
        span.name,
        drawn,
        span.parent,
        span.resource,
        span.attributes,
        span.events,
        span.links,
        span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
