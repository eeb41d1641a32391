"""When a new release gets more of the traffic, and when it gets none: a pure policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmrouter.common.errors import Reason

__all__ = ["OUR_FAULTS", "RELEASE_FAULTS", "Judgement", "Plan", "Seen", "Verdict", "judge"]

OUR_FAULTS = (
    Reason.ANSWER_BROKEN_OFF, Reason.DEADLINE_EXCEEDED, Reason.DRAINING, Reason.GENERATION_FAILED,
    Reason.INTERNAL, Reason.MEMORY_PRESSURE, Reason.MODEL_UNAVAILABLE, Reason.QUEUE_FULL,
    Reason.STORE_FAILED, Reason.UPSTREAM_UNAVAILABLE,
)  # fmt: skip
"""Failures by the suite's fault, as the rules of Prometheus have them."""
RELEASE_FAULTS = (*OUR_FAULTS, Reason.NO_CANDIDATE, Reason.UNKNOWN_MODEL)
"""The reasons that count: those too that come of models which the new release lacks. Its callers
are the old one's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How traffic is shifted."""

    stages: tuple[int, ...] = (10, 30, 70, 100)
    """Per cent of the traffic that the new release gets, one after another."""
    interval: float = 300.0
    """Seconds that a stage lasts at least."""
    patience: float = 3600.0
    """Seconds in which a stage must have had its requests."""
    min_requests: int = 50
    """Without so many, nothing is judged by failures, and no stage ends."""
    max_errors: float = 0.05
    """Share of failures above which the new release gets nothing any more."""
    most_blind: int = 3
    """Looks in a row that may fail: it is not ready, or nobody says how it does."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a release was asked lately, and how much of it failed."""

    requests: float
    failures: float

    @property
    def ratio(self) -> float:
        """The share that failed; 0 to 1."""
        return min(1.0, self.failures / self.requests) if self.requests > 0 else 0.0


class Verdict(StrEnum):
    """What is done next."""

    WAIT = "wait"
    ADVANCE = "advance"
    ROLL_BACK = "roll-back"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is done next, and why in one phrase for people."""

    verdict: Verdict
    why: str = ""


def judge(plan: Plan, in_stage: float, seen: Seen | None, blind: int, trouble: str) -> Judgement:
    """Return what is to be done after a look.

    Args:
        plan: How traffic is shifted.
        in_stage: Seconds that the stage has lasted.
        seen: How the new release does; None when the look failed.
        blind: Looks in a row that have failed, this one included.
        trouble: Why this one failed.
    """
    if blind >= plan.most_blind:
        return Judgement(Verdict.ROLL_BACK, f"{trouble}, {blind} times in a row")
    if seen is None:
        return Judgement(Verdict.WAIT, trouble)
    enough = seen.requests >= plan.min_requests
    if enough and seen.ratio > plan.max_errors:
        why = f"{seen.ratio:.1%} of {seen.requests:.0f} requests failed"
        return Judgement(Verdict.ROLL_BACK, f"{why}, at most {plan.max_errors:.1%} may")
    if enough and in_stage >= plan.interval:
        return Judgement(Verdict.ADVANCE)
    if in_stage >= plan.patience:
        why = f"only {seen.requests:.0f} requests came, {plan.min_requests} are needed"
        return Judgement(Verdict.ROLL_BACK, why)
    return Judgement(Verdict.WAIT)
