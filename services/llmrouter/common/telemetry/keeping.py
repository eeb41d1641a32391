"""Traces that were not drawn: recorded cheaply, and kept whole once they fail or prove slow."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes, AttributeValue

__all__ = ["Draft", "Drafts"]

_SCOPE = InstrumentationScope("llmrouter")
_NOT_DRAWN = TraceFlags(TraceFlags.DEFAULT)
_DRAWN = TraceFlags(TraceFlags.SAMPLED)


class Draft(Span):
    """A span of a trace that was not drawn: plain fields, a tenth of what the SDK's cost."""

    def __init__(
        self,
        book: Drafts,
        name: str,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        start_ns: int | None,
    ) -> None:
        self.trace_id = random.getrandbits(128) if parent is None else parent.trace_id
        self.span_id = random.getrandbits(64)
        self.name, self.parent, self.kind = name, parent, kind
        self.is_root = parent is None or parent.is_remote
        """Whether nothing of this process is above it."""
        self.attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self.events: list[Event] = []
        self.failed = False
        self.description: str | None = None
        self.start_ns = start_ns or time.time_ns()
        self.end_ns: int | None = None
        self._book = book
        self._context: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Return its ids; made only for those who ask."""
        if self._context is None:
            state = None if self.parent is None else self.parent.trace_state
            self._context = SpanContext(self.trace_id, self.span_id, False, _NOT_DRAWN, state)
        return self._context

    def is_recording(self) -> bool:
        """Whether it takes anything in."""
        return self.end_ns is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Take one in."""
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Take several in."""
        self.attributes.update(attributes)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Take an event in."""
        self.events.append(Event(name, attributes, timestamp or time.time_ns()))

    def update_name(self, name: str) -> None:
        """Name it otherwise."""
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went."""
        given = status if isinstance(status, Status) else Status(status, description)
        self.failed = given.status_code is StatusCode.ERROR
        self.description = given.description

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Take an exception in by its kind alone: its text may hold what is private."""
        told = {"exception.type": type(exception).__name__, **(attributes or {})}
        self.add_event("exception", told, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End it, once."""
        if self.end_ns is None:
            self.end_ns = end_time or time.time_ns()
            self._book.ended(self)

    def as_drawn(self, resource: Resource) -> ReadableSpan:
        """Return it as exporters take it."""
        mine = self.get_span_context()
        drawn = SpanContext(mine.trace_id, mine.span_id, False, _DRAWN, mine.trace_state)
        status = Status(StatusCode.ERROR, self.description) if self.failed else Status()
        return ReadableSpan(
            self.name,
            drawn,
            self.parent,
            resource,
            self.attributes,
            self.events,
            kind=self.kind,
            status=status,
            start_time=self.start_ns,
            end_time=self.end_ns,
            instrumentation_scope=_SCOPE,
        )


@dataclass(slots=True)
class _Trace:
    spans: list[Draft] = field(default_factory=list)
    open_roots: int = 0
    notable: bool = False


class Drafts:
    """The traces that were not drawn; notable ones leave whole.

    Decided in this process, when the last of its calls for a trace ends: notable is a trace with an
    error, or with a call slower than a bound. Past `most` spans the oldest traces are let go.

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
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes = None,
        start_ns: int | None = None,
    ) -> Draft:
        """Return a new span of a trace that was not drawn."""
        draft = Draft(self, name, parent, kind, attributes, start_ns)
        if draft.is_root:
            with self._lock:
                trace = self._traces.setdefault(draft.trace_id, _Trace())
                trace.open_roots += 1
                if len(self._traces) > self._most:
                    self._let_go()
        return draft

    def ended(self, draft: Draft) -> None:
        """Take a span in that has ended; what proved notable leaves with the last root."""
        for one in self._decided(draft):
            self._following.on_end(one.as_drawn(self._resource))

    def _decided(self, draft: Draft) -> list[Draft]:
        with self._lock:
            trace = self._traces.get(draft.trace_id)
            if trace is None:
                return []  # let go, or ended after the call that it belongs to
            trace.spans.append(draft)
            self.held += 1
            trace.notable |= draft.failed
            if draft.is_root:
                trace.open_roots -= 1
                trace.notable |= (draft.end_ns or 0) - draft.start_ns > self._slow_ns
            if not trace.open_roots:
                del self._traces[draft.trace_id]
                self.held -= len(trace.spans)
                return trace.spans if trace.notable else []
            while self.held > self._most:
                self._let_go()
            return []

    def _let_go(self) -> None:
        _, trace = self._traces.popitem(last=False)
        self.held -= len(trace.spans)
