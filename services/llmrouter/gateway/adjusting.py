"""How a question is put otherwise to the next model because of how the ones before it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, Priority, RequestContext
from llmrouter.common.truncation import Adjustment
from llmrouter.gateway.attempt import Trial

__all__ = ["adjustment", "asked"]

_TOO_MANY = "429"
"""What providers say to those who ask too often."""


def adjustment(request: GenerationRequest, trials: Sequence[Trial]) -> Adjustment | None:
    """Return what is changed for the try after these: who was over a limit waits behind others."""
    if request.priority is Priority.LOW:
        return None
    limited = any(one.error is not None and _rate_limited(one.error) for one in trials)
    return Adjustment(low_priority=True) if limited else None


def asked(
    request: GenerationRequest, context: RequestContext, trial: Trial
) -> tuple[GenerationRequest, RequestContext]:
    """Return what a try asks, and for whom."""
    if trial.adjustment is None or not trial.adjustment.low_priority:
        return request, context
    low = Priority.LOW
    return replace(request, priority=low), replace(context, priority=low)


def _rate_limited(error: RouterError) -> bool:
    return error.reason is Reason.RATE_LIMITED or error.metadata.get("http_status") == _TOO_MANY
