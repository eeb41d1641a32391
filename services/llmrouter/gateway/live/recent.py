"""The newest requests of a gateway, and its last minutes in steps. Pure but for the clock."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from llmrouter.common.errors import Reason
from llmrouter.gateway.record import SPARED, RequestRecord

__all__ = ["CALLERS", "STEPS", "STEP_SECONDS", "RecentRequests", "Step"]

STEPS, STEP_SECONDS = 60, 5
_MOST = 200
_MAX_OUTCOMES = 64
CALLERS = frozenset({
    Reason.INVALID_ARGUMENT, Reason.UNKNOWN_MODEL, Reason.UNKNOWN_STRATEGY, Reason.CONTEXT_TOO_LONG,
    Reason.NO_CANDIDATE, Reason.UNSUPPORTED_OPTION, Reason.CANCELLED, Reason.UNKNOWN_PLAN,
    Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED, Reason.RATE_LIMITED, Reason.QUOTA_EXHAUSTED,
    Reason.CONTENT_BLOCKED, Reason.SLOW_READER, Reason.ENTRY_TOO_LARGE, Reason.ROLLOUT_CONFLICT,
})  # fmt: skip
"""Reasons that lie with who asks: the suite did what it should."""


@dataclass(slots=True)
class Step:
    """What ended within some seconds."""

    requests: int = 0
    failed: int = 0
    """By the suite's fault."""
    refused: int = 0
    """By the callers' own."""
    spared: int = 0
    """Answered without generating."""
    tokens: int = 0
    cost: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Requests by why they did not end well."""


class RecentRequests:
    """A `RequestObserver` in bounded memory.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._newest: deque[tuple[float, RequestRecord]] = deque(maxlen=_MOST)
        self._steps: deque[tuple[int, Step]] = deque(maxlen=STEPS)

    def ended(self, record: RequestRecord) -> None:
        """Take in that a request is over."""
        now = self._clock()
        self._newest.append((now, record))
        step = self._step(int(now // STEP_SECONDS))
        step.requests += 1
        step.tokens += 0 if record.cache in SPARED else record.usage.completion_tokens
        if record.outcome == "OK":
            step.spared += record.cache in SPARED
        else:
            blamed = record.outcome in CALLERS
            step.refused += blamed
            step.failed += not blamed
            if record.outcome in step.outcomes or len(step.outcomes) < _MAX_OUTCOMES:
                step.outcomes[record.outcome] += 1
        if record.bill is not None:
            bill = record.bill
            bill.settled(lambda: self._paid(step, bill.cost))

    def newest(self, most: int) -> list[tuple[float, RequestRecord]]:
        """Return the newest requests with the times of their ends, newest first."""
        return [self._newest[-1 - back] for back in range(min(most, len(self._newest)))]

    def steps(self) -> list[Step]:
        """Return the last steps, oldest first; the last one goes on still."""
        last = int(self._clock() // STEP_SECONDS)
        known = dict(self._steps)
        return [known.get(number) or Step() for number in range(last - STEPS + 1, last + 1)]

    def first_token(self) -> tuple[float, float] | None:
        """Return median and 95th percentile of the newest requests' seconds to the first text."""
        times = sorted(
            one.first_token
            for _, one in self._newest
            if one.first_token is not None and one.cache not in SPARED
        )
        if not times:
            return None
        return times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.95))]

    def _step(self, number: int) -> Step:
        # A clock that is set back goes on in the last step.
        if not self._steps or self._steps[-1][0] < number:
            self._steps.append((number, Step()))
        return self._steps[-1][1]

    @staticmethod
    def _paid(step: Step, cost: float) -> None:
        step.cost += cost
