"""Spans as plain fields, at a tenth of what the SDK's cost; they leave as the SDK's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes, AttributeValue

__all__ = ["CURRENT", "LightSpan"]

CURRENT: ContextVar[LightSpan | None] = ContextVar("span", default=None)
"""The span of the call that runs, where it is one of ours."""
_SCOPE = InstrumentationScope("llmrouter")
_NOT_DRAWN = TraceFlags(TraceFlags.DEFAULT)
_DRAWN = TraceFlags(TraceFlags.SAMPLED)


class LightSpan(Span):
    """One span, until it ends.

    Args:
        above: What it is below: a span of this process, the context of one elsewhere, or nothing.
        drawn: Whether its trace leaves whatever becomes of it; below a
            span of this process it is as there.
        ended: Told once, when it has ended.
        start_ns: Nanoseconds since the epoch; 0 takes now.
    """

    def __init__(
        self,
        name: str,
        above: LightSpan | SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        start_ns: int,
        ended: Callable[[LightSpan], None],
        *,
        drawn: bool = False,
    ) -> None:
        self.name, self.above, self.kind = name, above, kind
        self.is_root = not isinstance(above, LightSpan)
        """Whether nothing of this process is above it."""
        self.drawn: bool = above.drawn if isinstance(above, LightSpan) else drawn
        self.trace_id: int = random.getrandbits(128) if above is None else above.trace_id
        self.span_id = random.getrandbits(64)
        self.trace_state: TraceState | None = None if above is None else above.trace_state
        self.attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self.events: list[Event] = []
        self.failed = False
        self.description: str | None = None
        self.start_ns = start_ns or time.time_ns()
        self.end_ns: int | None = None
        self._ended = ended
        self._later: tuple[Callable[[LightSpan], None], ...] = ()

    def get_span_context(self) -> SpanContext:
        """Return its ids."""
        return self._context(_DRAWN if self.drawn else _NOT_DRAWN)

    def is_recording(self) -> bool:
        """Whether it takes anything in."""
        return self.end_ns is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Take one in."""
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Take several in."""
        self.attributes.update(attributes)

    def tell_later(self, write: Callable[[LightSpan], None]) -> None:
        """Take in what will write attributes and events; called only if the span leaves."""
        self._later = (*self._later, write)

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
            self._ended(self)

    def leaving(self, resource: Resource) -> ReadableSpan:
        """Return it as exporters take it."""
        above = self.above
        for write in self._later:
            write(self)
        status = Status(StatusCode.ERROR, self.description) if self.failed else Status()
        return ReadableSpan(
            self.name,
            self._context(_DRAWN),
            above.get_span_context() if isinstance(above, LightSpan) else above,
            resource,
            self.attributes,
            self.events,
            kind=self.kind,
            status=status,
            start_time=self.start_ns,
            end_time=self.end_ns,
            instrumentation_scope=_SCOPE,
        )

    def _context(self, flags: TraceFlags) -> SpanContext:
        return SpanContext(self.trace_id, self.span_id, False, flags, self.trace_state)
