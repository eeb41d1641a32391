"""When a cheap model's answer will do: pure policy over its tokens' log probabilities.

The confidence of an answer is a low quantile of its tokens' probabilities. The mean hides one
unsure token among many sure ones, and grows with the boilerplate around the answer; the product
punishes length (Gupta et al. 2024, "Language Model Cascades: Token-Level Uncertainty and Beyond").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmrouter.common.generation import FinishReason

__all__ = ["CascadePolicy", "Verdict", "confidence", "judge"]


@dataclass(frozen=True, slots=True)
class CascadePolicy:
    """What an answer needs to be kept."""

    threshold: float = 0.6
    """Least confidence, 0 (keep everything) to 1 (keep only certainty)."""
    quantile: float = 0.1
    """Which of the tokens' probabilities counts: 0 is the lowest, 0.5 the median."""
    least_tokens: int = 1
    """Shorter answers are never kept."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an answer."""

    escalate: bool
    """Whether the next model is to answer instead."""
    confidence: float
    """0 to 1."""
    reason: str
    """One phrase for people."""


def confidence(logprobs: Sequence[float], quantile: float = 0.1) -> float:
    """Return the probability below which a share of `quantile` of the tokens lies, 0 to 1.

    Args:
        logprobs: Natural logarithms of the probabilities of an answer's tokens, each at most 0.
        quantile: 0 to 1; interpolated between neighbours. 0 for an answer without tokens.

    Raises:
        ValueError: A number is not one, or the quantile is not in 0 to 1.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"the quantile {quantile} is not in 0 to 1")
    if any(math.isnan(one) for one in logprobs):
        raise ValueError("a log probability is not a number")
    if not logprobs:
        return 0.0
    ranked = sorted(min(0.0, one) for one in logprobs)
    place = quantile * (len(ranked) - 1)
    low = math.floor(place)
    lower, upper = (math.exp(ranked[one]) for one in (low, min(low + 1, len(ranked) - 1)))
    return lower + (place - low) * (upper - lower)


def judge(logprobs: Sequence[float], finish: FinishReason, policy: CascadePolicy) -> Verdict:
    """Decide whether an answer is kept or the next model of the cascade is asked.

    An answer cut off by the limit is judged like any other: a stronger model meets the same limit.

    Args:
        logprobs: Of the answer's tokens, in order.
        finish: Why it ended.
        policy: The bounds.
    """
    if finish is FinishReason.CANCELLED:
        return Verdict(escalate=False, confidence=0.0, reason="the caller left")
    found = confidence(logprobs, policy.quantile)
    if len(logprobs) < policy.least_tokens:
        reason = f"only {len(logprobs)} tokens, {policy.least_tokens} are needed"
        return Verdict(escalate=True, confidence=found, reason=reason)
    sure = found >= policy.threshold
    reason = f"confidence {found:.2f} is {'at least' if sure else 'below'} {policy.threshold:.2f}"
    return Verdict(escalate=not sure, confidence=found, reason=reason)
