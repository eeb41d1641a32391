"""Which spans leave: those of traces that were drawn, and of others that fail or prove slow."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanContext, SpanKind

from llmrouter.common.telemetry.spans import LightSpan

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

__all__ = ["SpanKeeper"]


@dataclass(slots=True)
class _Trace:
    spans: list[LightSpan] = field(default_factory=list)
    open_roots: int = 0
    notable: bool = False


class SpanKeeper:
    """Lets spans of drawn traces leave as they end, and keeps the others until it is decided.

    Decided in this process, when the last of its calls for a trace ends: notable is a trace with an
    error, or with a call slower than a bound; it leaves whole. Past `most` spans the oldest traces
    are let go.

    Args:
        following: Takes what leaves.
        resource: What process it comes from.
        slow_seconds: Calls slower than this are kept.
        most: Spans, and traces, held at once.
    """

    def __init__(
        self, following: SpanProcessor, resource: Resource, slow_seconds: float, most: int = 8192
    ) -> None:
        self._following, self._resource = following, resource
        self._slow_ns = int(slow_seconds * 1e9)
        self._most = most
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._lock = threading.Lock()
        self.held = 0
        """Spans that have ended and are not decided on."""

    def start(
        self,
        name: str,
        above: LightSpan | SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        start_ns: int,
        *,
        drawn: bool,
    ) -> LightSpan:
        """Return a new span; arguments as those of `LightSpan`."""
        span = LightSpan(name, above, kind, attributes, start_ns, self._ended, drawn=drawn)
        if span.is_root and not span.drawn:
            with self._lock:
                trace = self._traces.setdefault(span.trace_id, _Trace())
                trace.open_roots += 1
                if len(self._traces) > self._most:
                    self._let_go()
        return span

    def _ended(self, span: LightSpan) -> None:
        for one in (span,) if span.drawn else self._decided(span):
            self._following.on_end(one.leaving(self._resource))

    def _decided(self, span: LightSpan) -> list[LightSpan]:
        with self._lock:
            trace = self._traces.get(span.trace_id)
            if trace is None:
                return []  # let go, or ended after the call that it belongs to
            trace.spans.append(span)
            self.held += 1
            trace.notable |= span.failed
            if span.is_root:
                trace.open_roots -= 1
                trace.notable |= (span.end_ns or 0) - span.start_ns > self._slow_ns
            if not trace.open_roots:
                del self._traces[span.trace_id]
                self.held -= len(trace.spans)
                return trace.spans if trace.notable else []
            while self.held > self._most:
                self._let_go()
            return []

    def _let_go(self) -> None:
        _, trace = self._traces.popitem(last=False)
        self.held -= len(trace.spans)
