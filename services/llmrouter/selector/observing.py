"""Choices as telemetry sees them: every candidate with its score, and who was chosen how often."""

from __future__ import annotations

import time

from llmrouter.common.telemetry.metering import Meter
from llmrouter.common.telemetry.names import Attribute, Name, SpanName
from llmrouter.common.telemetry.tracing import LightSpan, current_span
from llmrouter.selector.plan import Plan

__all__ = ["SelectionObserver"]


class SelectionObserver:
    """Is told of every plan, in the task of its call.

    Args:
        meter: None measures nothing.
    """

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter

    def chosen(self, plan_id: str, plan: Plan) -> None:
        """Take in that a plan was issued."""
        first = plan.candidates[0]
        if self._meter is not None:
            labels = {"strategy": plan.strategy, "model": first.model}
            self._meter.add(Name.SELECTIONS, labels)
        span = current_span()
        if isinstance(span, LightSpan):
            now = time.time_ns()
            span.tell_later(lambda span: _write(span, plan_id, plan, now))


def _write(span: LightSpan, plan_id: str, plan: Plan, at_ns: int) -> None:
    span.set_attributes(
        {
            Attribute.PLAN_ID: plan_id,
            Attribute.STRATEGY: plan.strategy,
            Attribute.REASON: plan.reason,
            Attribute.MODE: plan.mode.value,
        }
    )
    for candidate in plan.candidates:
        told: dict[str, str | float] = {
            Attribute.REQUEST_MODEL: candidate.model,
            Attribute.VERSION: candidate.version,
            Attribute.SERVER: candidate.address,
            Attribute.SCORE: candidate.score,
            Attribute.COST: candidate.estimated_cost,
        }
        told |= {f"{Attribute.SCORE}.{one.name}": one.value for one in candidate.components}
        span.add_event(SpanName.CANDIDATE, told, at_ns)
