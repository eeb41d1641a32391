"""What is seen of every call: its span, how long it took and how many there are."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable

from llmrouter.common.errors import RULES
from llmrouter.common.telemetry.metering import Meter, Reading
from llmrouter.common.telemetry.names import ROOTS, SERVER_SPANS, UNTRACED, Attribute, Name
from llmrouter.common.telemetry.tracing import LightSpan, Tracer, fail, trace_headers

__all__ = ["CallWatch"]

_STATUS = {reason.value: rule.status for reason, rule in RULES.items()}


class CallWatch:
    """Sees the calls of one service.

    A trace begins at the gateway or comes with a call; what services ask each other for themselves,
    such as who holds which model, is measured and not traced.

    Args:
        service: Its name.
        tracer: None traces nothing.
        meter: None measures nothing.
    """

    def __init__(self, service: str, tracer: Tracer | None, meter: Meter | None) -> None:
        self._service, self._tracer, self._meter = service, tracer, meter
        self._active: Counter[str] = Counter()

    def begin(self, method: str, metadata: object) -> Callable[[str], None]:
        """Take in that a call begins; return what is to be told its reason, or `OK`, at the end.

        Args:
            method: Full name of the method, or `POST /route` of a call over HTTP.
            metadata: What came with it, in pairs.
        """
        began = time.monotonic()
        span = self._span(method, metadata)
        self._active[method] += 1

        def ended(outcome: str) -> None:
            self._active[method] -= 1
            status = "OK" if outcome == "OK" else _STATUS.get(outcome, "UNKNOWN")
            if self._meter is not None:
                _measure(self._meter, method, outcome, status, time.monotonic() - began)
            if span is not None:
                span.set_attribute(Attribute.RPC_STATUS, status)
                if outcome != "OK":
                    fail(span, outcome)
                span.end()

        return ended

    async def readings(self) -> list[Reading]:
        """Return how many calls are inside now."""
        return [
            Reading(Name.RPC_ACTIVE, count, {Attribute.RPC_METHOD: method.removeprefix("/")})
            for method, count in self._active.items()
        ]

    def _span(self, method: str, metadata: object) -> LightSpan | None:
        if self._tracer is None:
            return None
        headers = trace_headers(metadata)
        over_http = not method.startswith("/")
        if not headers and method not in ROOTS and not over_http:
            return None
        if method in UNTRACED:
            return None
        name = SERVER_SPANS.get(method) or (method if over_http else method.rpartition(".")[2])
        return self._tracer.receive(name, headers, _told(method))


@functools.cache
def _told(method: str) -> dict[str, str]:
    if method.startswith("/"):
        return {Attribute.RPC_SYSTEM: "grpc", Attribute.RPC_METHOD: method[1:]}
    verb, _, route = method.partition(" ")
    return {Attribute.HTTP_METHOD: verb, Attribute.HTTP_ROUTE: route}


def _measure(meter: Meter, method: str, outcome: str, status: str, seconds: float) -> None:
    if method.startswith("/"):
        told = {Attribute.RPC_METHOD: method[1:], Attribute.RPC_STATUS: status}
        meter.record(Name.RPC_DURATION, seconds, told)
        return
    failed = {} if outcome == "OK" else {Attribute.ERROR: outcome}
    meter.record(Name.HTTP_DURATION, seconds, {**_told(method), **failed})
