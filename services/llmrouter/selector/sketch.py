"""Percentiles of a stream of times in little memory, old ones fading.

A DDSketch (Masson, Rim and Lee, VLDB 2019): counts by logarithmic bins give every quantile within a
fixed relative error. Its counts are forward-decayed (Cormode et al., ICDE 2009): a new time weighs
more instead of all old ones less, so that adding one stays cheap. The `ddsketch` package keeps no
weights that can be scaled down again, which fading for months needs; hence these few lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACCURACY", "Distribution", "TimeSketch"]

ACCURACY = 0.04
"""Relative error of a quantile."""
_LOWEST = 1e-4
"""Shorter times, in seconds, count as this."""
_HIGHEST = 1e4
_STEP = math.log((1 + ACCURACY) / (1 - ACCURACY))
_BINS = math.ceil(math.log(_HIGHEST / _LOWEST) / _STEP) + 1
_MAX_DOUBLINGS = 40.0
_Counts: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a time is distributed; seconds."""

    mean: float
    error: float
    """Standard error of the mean: how uncertain it is."""
    median: float
    p95: float
    p99: float
    evidence: float
    """Observations that it is worth now."""


class TimeSketch:
    """How times are distributed; seconds from 0.1 ms to 10,000 s."""

    __slots__ = ("_counts", "_half_life", "_origin", "_square", "_sum", "_weight")

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._origin = 0.0
        self._weight = self._sum = self._square = 0.0
        self._counts: _Counts | None = None

    def add(self, seconds: float, now: float) -> None:
        """Take in one time, observed at `now` seconds; a clock that goes back fades nothing."""
        if self._counts is None:
            self._counts, self._origin = np.zeros(_BINS, np.float32), now
        doublings = self._doublings(now)
        if doublings > _MAX_DOUBLINGS:
            less = math.exp2(-doublings)
            self._counts *= np.float32(less)
            self._weight, self._sum = self._weight * less, self._sum * less
            self._square *= less
            self._origin, doublings = now, 0.0
        within = min(_HIGHEST, max(_LOWEST, seconds))
        weight = math.exp2(doublings)
        self._counts[math.ceil(math.log(within / _LOWEST) / _STEP - 1e-9)] += weight
        self._weight += weight
        self._sum += weight * within
        self._square += weight * within * within

    @property
    def mean(self) -> float:
        """Seconds; 0 before the first time."""
        return self._sum / self._weight if self._weight else 0.0

    def evidence(self, now: float) -> float:
        """Return how many observations it is worth at `now`."""
        return self._weight * math.exp2(-self._doublings(now))

    def quantile(self, share: float) -> float | None:
        """Return the time in seconds that `share` (0 to 1) do not exceed; None before the first."""
        return None if self._counts is None else self._quantiles(self._counts, share)[0]

    def distribution(self, now: float) -> Distribution | None:
        """Return what is known at `now`; None before the first time."""
        if self._counts is None:
            return None
        mean, evidence = self.mean, self.evidence(now)
        variance = max(0.0, self._square / self._weight - mean * mean)
        error = math.sqrt(variance / max(evidence, 1e-9))
        median, p95, p99 = self._quantiles(self._counts, 0.5, 0.95, 0.99)
        return Distribution(mean, error, median, p95, p99, evidence)

    @staticmethod
    def _quantiles(counts: _Counts, *shares: float) -> list[float]:
        reached = counts.cumsum(dtype=np.float64)
        places = reached.searchsorted(np.maximum(np.array(shares) * reached[-1], 1e-300))
        # The middle of the bin, as seen relative to both of its edges.
        middle = 2 * _LOWEST / (1 + math.exp(_STEP))
        return [middle * math.exp(_STEP * place) for place in places.tolist()]

    def _doublings(self, now: float) -> float:
        return max(0.0, now - self._origin) / self._half_life
