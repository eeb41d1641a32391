"""Measures every request, and writes on its span what became of it."""

from __future__ import annotations

from collections.abc import Callable

from llmrouter.common.telemetry.metering import Meter
from llmrouter.common.telemetry.names import Attribute, Name
from llmrouter.common.telemetry.telemetry import Telemetry
from llmrouter.common.telemetry.tracing import Attributes, LightSpan, current_span, fail
from llmrouter.gateway.limits.alerts import Alert
from llmrouter.gateway.record import SPARED, RequestRecord

__all__ = ["MeasuredRequests", "budget_listeners"]


class MeasuredRequests:
    """A `RequestObserver`; called in the task of the request's own call.

    Args:
        meter: None measures nothing.
    """

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter

    def ended(self, record: RequestRecord) -> None:
        """Take in that a request is over."""
        if self._meter is not None:
            _measure(self._meter, record)
        span = current_span()
        if not isinstance(span, LightSpan):
            return
        span.tell_later(lambda span: span.set_attributes(_told(record)))
        if record.outcome != "OK":
            fail(span, record.outcome)


def budget_listeners(telemetry: Telemetry) -> tuple[Callable[[Alert], None], ...]:
    """Return who counts the alerts of budgets: nobody where nothing is measured."""
    meter = telemetry.meter
    if meter is None:
        return ()

    def count(alert: Alert) -> None:
        meter.add(Name.BUDGET_ALERTS, {"rule": alert.rule, "alert": alert.kind.value})

    return (count,)


def _told(record: RequestRecord) -> Attributes:
    return {
        Attribute.REQUEST_ID: record.request_id,
        Attribute.TENANT: record.tenant,
        Attribute.OPERATION: record.operation,
        Attribute.PLAN_ID: record.plan_id,
        Attribute.REASON: record.reason,
        Attribute.RESPONSE_MODEL: record.model,
        Attribute.VERSION: record.version,
        Attribute.CACHE: record.cache,
        Attribute.ATTEMPTS: record.attempts,
        Attribute.INPUT_TOKENS: record.usage.prompt_tokens,
        Attribute.OUTPUT_TOKENS: record.usage.completion_tokens,
        Attribute.FINISH_REASONS: record.finish_reasons,
    }


def _measure(meter: Meter, record: RequestRecord) -> None:
    model = {"model": record.model}
    answered = record.outcome == "OK"
    meter.add(
        Name.REQUESTS,
        {
            **model,
            "tenant": record.tenant,
            "success": "true" if answered else "false",
            "cache": record.cache,
        },
    )
    meter.record(Name.REQUEST_DURATION, record.seconds, model)
    if not answered:
        meter.add(Name.ERRORS, {**model, "reason": record.outcome})
    if not record.model:
        return
    meter.add(Name.MODEL_USAGE, {**model, "operation": record.operation})
    if record.cache in SPARED:
        return
    if record.usage.completion_tokens:
        meter.record(Name.TOKENS_GENERATED, record.usage.completion_tokens, model)
    if record.first_token is not None:
        meter.record(Name.FIRST_TOKEN, record.first_token, model)
    if record.per_token is not None:
        meter.record(Name.PER_TOKEN, record.per_token, model)
