"""When a cheap model's answer will do: pure policy over its tokens' log probabilities.

The confidence of an answer is the probability of its least likely token, where the very least of
five or more is set aside: one may be a matter of wording. The mean hides a few unsure tokens among
many sure ones, and so does a quantile, the more the longer the answer; the product punishes every
token (Gupta et al. 2024, "Language Model Cascades: Token-Level Uncertainty and Beyond").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmrouter.common.generation import FinishReason

__all__ = ["CascadePolicy", "Verdict", "confidence", "judge"]


_TOKENS_TO_SPARE_ONE = 5


@dataclass(frozen=True, slots=True)
class CascadePolicy:
    """What an answer needs to be kept."""

    threshold: float = 0.4
    """Least confidence, 0 (keep everything) to 1 (keep only certainty)."""
    spared: int = 1
    """So many of the least likely tokens do not count, of each five at most one."""
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


def confidence(logprobs: Sequence[float], spared: int = 1) -> float:
    """Return the probability of the least likely token that counts, 0 to 1.

    Args:
        logprobs: Natural logarithms of the probabilities of an answer's tokens, each at most 0.
        spared: So many of the least likely do not count, of each five at most one.

    0 for an answer without tokens.

    Raises:
        ValueError: A number is not one.
    """
    if any(math.isnan(one) for one in logprobs):
        raise ValueError("a log probability is not a number")
    if not logprobs:
        return 0.0
    ranked = sorted(logprobs)
    return math.exp(min(0.0, ranked[min(spared, len(ranked) // _TOKENS_TO_SPARE_ONE)]))


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
    found = confidence(logprobs, policy.spared)
    if len(logprobs) < policy.least_tokens:
        reason = f"only {len(logprobs)} tokens, {policy.least_tokens} are needed"
        return Verdict(escalate=True, confidence=found, reason=reason)
    sure = found >= policy.threshold
    reason = f"confidence {found:.2f} is {'at least' if sure else 'below'} {policy.threshold:.2f}"
    return Verdict(escalate=not sure, confidence=found, reason=reason)
