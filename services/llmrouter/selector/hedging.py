"""How long a first token is waited for until a second model is asked as well. Pure."""

from __future__ import annotations

from llmrouter.selector.sketch import TimeSketch
from llmrouter.selector.strategy_settings import HedgingSettings

__all__ = ["hedge_delay"]


def hedge_delay(
    first: TimeSketch, expected: float, settings: HedgingSettings, now: float
) -> float | None:
    """Return the seconds; None where too little is known of the model.

    They are what the quantile of the model's times to first token says, and for a prompt that is
    expected to take longer than usual, longer in proportion.

    Args:
        first: The times to first token of the model's version.
        expected: Seconds until that of this request.
        settings: Quantile, and how much must be known.
        now: In seconds, as the times were added at.
    """
    if first.evidence(now) < settings.least_observations:
        return None
    slow = first.quantile(settings.quantile)
    if slow is None:
        return None
    return max(settings.least_seconds, slow, expected * max(1.0, slow / first.mean))
