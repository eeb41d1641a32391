"""When to try again: jittered pauses, and a budget lest trouble is made worse. Pure policy.

A budget is a token bucket as in Finagle and gRPC: each try that was planned pays a share of one in,
each further one takes a whole one out. Whatever fails, a model so gets at most that share more
tries than were planned, and a few per second where it gets hardly any.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmrouter.common.errors import Reason, Retry, RouterError

__all__ = ["Backoff", "BudgetPolicy", "RetryBudget", "RetryBudgets", "Retrying", "passes"]

_OWN = frozenset({Reason.CONTEXT_TOO_LONG, Reason.UNSUPPORTED_OPTION, Reason.QUOTA_EXHAUSTED})
"""Failures that come of the request, or stay for a day: trying the same model again is in vain."""
_MAX_BUDGETS = 1024
_MAX_DOUBLINGS = 30


def passes(error: RouterError) -> bool:
    """Whether what went wrong may pass by itself, so that the same model may answer later.

    A model that is unavailable, and does not say until when, will stay so.
    """
    if error.reason is Reason.MODEL_UNAVAILABLE and error.retry_after is None:
        return False
    return error.retry is not Retry.NEVER and error.reason not in _OWN


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """How many further tries a model gets."""

    ratio: float = 0.2
    """Share of those that were planned; 0 to 1."""
    per_second: float = 10.0
    """As many beside, so that rare requests may be tried again too."""
    burst: float = 100.0
    """At once, at most."""


class RetryBudget:
    """The budget of one model. Time is passed in as seconds of any monotonic clock."""

    def __init__(self, policy: BudgetPolicy, now: float) -> None:
        self._policy = policy
        self._left = min(policy.per_second, policy.burst)
        self._at = now

    def deposit(self, now: float) -> None:
        """Take in that a try was made as planned."""
        self._refill(now)
        self._left = min(self._policy.burst, self._left + self._policy.ratio)

    def withdraw(self, now: float) -> bool:
        """Whether one more try may be made; then it is taken to be."""
        if not self.has(now):
            return False
        self._left -= 1.0
        return True

    def has(self, now: float) -> bool:
        """Whether one more try may be made."""
        self._refill(now)
        return self._left >= 1.0

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._left = min(self._policy.burst, self._left + passed * self._policy.per_second)
        self._at = max(now, self._at)


class RetryBudgets:
    """Budgets by model; past a bound, that which was not asked for the longest is forgotten."""

    def __init__(self, policy: BudgetPolicy, most: int = _MAX_BUDGETS) -> None:
        self._policy, self._most = policy, most
        self._budgets: OrderedDict[str, RetryBudget] = OrderedDict()

    def __len__(self) -> int:
        return len(self._budgets)

    def of(self, model: str, now: float) -> RetryBudget:
        """Return the budget of a model."""
        budget = self._budgets.get(model)
        if budget is None:
            budget = self._budgets[model] = RetryBudget(self._policy, now)
            if len(self._budgets) > self._most:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(model)
        return budget


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double, each drawn from nothing to all of it ("full jitter")."""

    rounds: int = 3
    """Pauses at most; 0 never tries again."""
    initial: float = 0.05
    """Seconds of the first, at most."""
    most: float = 2.0
    """Of any, at most, and of those that a model asks for."""

    def pause(
        self, taken: int, asked: float, left: float | None, draw: Callable[[], float]
    ) -> float | None:
        """Return how many seconds to wait; None where trying again is of no use.

        Args:
            taken: Pauses of this request so far.
            asked: Seconds that those who failed ask for (RetryInfo); none of them come sooner.
            left: Seconds until the caller gives up; None when it does not.
            draw: Gives a number from 0 to 1.
        """
        if taken >= self.rounds or asked > self.most:
            return None
        longest = min(self.most, self.initial * 2.0 ** min(taken, _MAX_DOUBLINGS))
        pause = asked + draw() * longest
        return None if left is not None and pause >= left else pause


class Retrying:
    """Says whether, and when, a further try may be made.

    Args:
        backoff: The pauses.
        policy: The budgets.
        clock: Monotonic seconds.
        draw: Gives a number from 0 to 1.
    """

    def __init__(
        self,
        backoff: Backoff | None = None,
        policy: BudgetPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,  # noqa: S311 - nothing hangs on its secrecy
    ) -> None:
        self._backoff = backoff or Backoff()
        self._budgets = RetryBudgets(policy or BudgetPolicy())
        self._clock, self._draw = clock, draw

    def planned(self, models: Sequence[str]) -> None:
        """Take in that these were tried as planned."""
        now = self._clock()
        for model in models:
            self._budgets.of(model, now).deposit(now)

    def grants(self, models: Sequence[str]) -> bool:
        """Whether one more try at each may be made."""
        now = self._clock()
        budgets = [self._budgets.of(model, now) for model in models]
        granted = all(one.has(now) for one in budgets)
        if granted:
            for one in budgets:
                one.withdraw(now)
        return granted

    def pause(self, taken: int, errors: Sequence[RouterError], left: float | None) -> float | None:
        """Return how many seconds to wait after these failures; see `Backoff.pause`."""
        passing = [error.retry_after or 0.0 for error in errors if passes(error)]
        if not passing:
            return None
        return self._backoff.pause(taken, min(passing), left, self._draw)
