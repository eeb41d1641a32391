"""Whether a new version is worse than the old one: statistical tests over samples of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

from llmrouter.selector.statistics import Observation, prefill_pace

__all__ = ["Logarithms", "Samples", "fails_too_often", "finite", "slower"]

_ERROR_SIGNIFICANCE = 0.01
_SLOW_SIGNIFICANCE = 0.001
"""Smaller, since every outcome is a new look."""
_MIN_TIMES = 20
"""Times of each version before their means are compared."""


@dataclass(slots=True)
class Logarithms:
    """Moments of the logarithms of times, which are closer to normal than the times (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of the squared distances from the mean."""

    def add(self, seconds: float | None) -> None:
        """Take in one time; none and nonsense are left out."""
        if seconds is None or not math.isfinite(seconds) or seconds <= 0:
            return
        self.count += 1
        value = math.log(seconds)
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)

    @property
    def error(self) -> float:
        """The variance of the mean."""
        return self.squares / (self.count - 1) / self.count if self.count > 1 else math.inf

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Logarithms:
        """Return what `data` told; errors as `Samples.from_data`."""
        return cls(int(data["count"]), finite(data["mean"]), finite(data["squares"]))


@dataclass(slots=True)
class Samples:
    """What was seen of one version."""

    attempts: int = 0
    failures: int = 0
    first: Logarithms = field(default_factory=Logarithms)
    """Of the time to first token, per token of the prompt."""
    per_token: Logarithms = field(default_factory=Logarithms)

    def add(self, outcome: Observation) -> None:
        """Take in one attempt; faults of callers say nothing."""
        if not outcome.counts:
            return
        self.attempts += 1
        self.failures += outcome.failed
        first, usage = outcome.time_to_first_token, outcome.usage
        if first is not None and usage is not None and usage.prompt_tokens:
            computing = first - (outcome.queue_seconds or 0.0)
            self.first.add(prefill_pace(computing, usage.prompt_tokens))
        self.per_token.add(outcome.seconds_per_token)

    @property
    def error_rate(self) -> float:
        """Share of failures, 0 to 1."""
        return self.failures / self.attempts if self.attempts else 0.0

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Samples:
        """Return what `data` told.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: It tells something else.
        """
        found = cls(
            int(data["attempts"]),
            int(data["failures"]),
            Logarithms.from_data(data["first"]),
            Logarithms.from_data(data["per_token"]),
        )
        if not 0 <= found.failures <= found.attempts:
            raise ValueError(f"{found.failures} of {found.attempts} attempts failed")
        return found


def finite(value: Any) -> float:
    """Return a number of a document.

    Raises:
        TypeError, ValueError, OverflowError: It is none, or infinite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no finite number")
    return number


def fails_too_often(samples: Samples, most: float) -> bool:
    """Whether more than the share `most` fails: an exact binomial test at 1 %.

    A version that always fails is found out by its second failure, for 5 %.
    """
    tried, failed = samples.attempts, samples.failures
    if tried == 0 or failed / tried <= most:
        return False
    chance = sum(_binomial(tried, count, most) for count in range(failed, tried + 1))
    return chance < _ERROR_SIGNIFICANCE


def slower(old: Logarithms, new: Logarithms, bound: float) -> bool:
    """Whether the new times are more than `bound` times the old: Welch's test on logarithms."""
    if min(old.count, new.count) < _MIN_TIMES:
        return False
    beyond = new.mean - old.mean - math.log(bound)
    error = math.sqrt(old.error + new.error)
    if error == 0:
        return beyond > 0
    return beyond / error > NormalDist().inv_cdf(1 - _SLOW_SIGNIFICANCE)


def _binomial(tried: int, count: int, chance: float) -> float:
    if chance <= 0:
        return float(count == 0)
    if chance >= 1:
        return float(count == tried)
    ways = math.lgamma(tried + 1) - math.lgamma(count + 1) - math.lgamma(tried - count + 1)
    return math.exp(ways + count * math.log(chance) + (tried - count) * math.log1p(-chance))
