"""Decayed means of many endpoints at once: rows of one array, which a choice reads vectorised.

An observation counts half after each half-life. What is believed is the mean of the evidence drawn
towards a prior, the more so the older the evidence: a model that was slow an hour ago is believed
to be as its card says, and gets traffic again. Time is passed in as seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRIOR_WEIGHT", "Array", "Evidence", "EvidenceTable", "Key", "Measure", "prior_belief"]

Array: TypeAlias = NDArray[np.float64]
Key: TypeAlias = tuple[str, str, str]
"""Model, version and address; an empty address stands for all endpoints of the version. What is
learned of a tokenizer goes by its name alone."""

PRIOR_WEIGHT = 2.0
"""Observations that a prior counts for."""
MAX_OBSERVATIONS = 64.0
"""Observations that evidence is worth at most: under much traffic it follows the last of them, in
however short a time they came, so that a model that grows slower is known to."""
_FIRST_ROWS = 64


class Measure(IntEnum):
    """What is averaged."""

    ERROR = 0
    """1 for an attempt that failed by the model's fault, 0 for one that answered."""
    PREFILL = 1
    """Seconds to the first token, waiting left out, per prompt token and fixed part."""
    PER_TOKEN = 2
    """Seconds between two tokens."""


def prior_belief(priors: Array) -> Array:
    """Return 2 measures x n, what `Evidence.believed` adds: sums and weights of measures x n."""
    return np.vstack([priors * PRIOR_WEIGHT, np.full_like(priors, PRIOR_WEIGHT)])


class Evidence(NamedTuple):
    """What was observed of n rows, as it was when a choice was made."""

    data: Array
    """3 measures x n: sums, then weights (how many observations are left), then squares."""
    fade: Array
    """n: what is left of the evidence since its last observation."""

    @property
    def _count(self) -> int:
        return len(self.data) // 3

    def believed(self, prior: Array) -> Array:
        """Return measures x n: the means drawn towards a prior, as `prior_belief` gives it."""
        count = self._count
        faded = self.data[: 2 * count] * self.fade
        faded += prior
        believed: Array = faded[:count] / faded[count:]
        return believed

    def spread(self, believed: Array, prior: Array) -> Array:
        """Return measures x n: the standard deviations of observations; a prior has none."""
        count = self._count
        weights = self.data[count : 2 * count]
        sums, total = prior[:count], prior[count:]
        squares = self.data[2 * count :] * self.fade + sums**2 / total
        return np.sqrt(np.maximum(0.0, squares / (weights * self.fade + total) - believed**2))

    def forget_errors(self, row: int) -> None:
        """Drop the failures of a row from this copy."""
        self.data[Measure.ERROR, row] = 0.0


class EvidenceTable:
    """Rows of evidence by key; the longest unseen one is forgotten first.

    Row 0 stays empty and stands for every key that was never observed.
    """

    def __init__(self, half_life: float, most: int = 16_384, measures: int = len(Measure)) -> None:
        """Make an empty table.

        Args:
            half_life: Seconds after which an observation counts half.
            most: Rows at most.
            measures: Values of an observation.
        """
        self._count = measures
        self._half_life = half_life
        self._most = most
        self._rows: OrderedDict[Key, int] = OrderedDict()
        self._data: Array = np.zeros((3 * measures, _FIRST_ROWS))
        self._at: Array = np.full(_FIRST_ROWS, -math.inf)
        """When each row was observed last, in half-lives of the clock."""
        self._latest = -math.inf
        self.generation = 0
        """Changes whenever a key gets or loses its row."""

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, key: Key) -> int:
        """Return the row of a key; 0 when it was never observed."""
        return self._rows.get(key, 0)

    def rows(self, keys: Sequence[Key]) -> NDArray[np.intp]:
        """Return the rows of many keys; they hold until `generation` changes."""
        found = self._rows
        return np.fromiter((found.get(key, 0) for key in keys), np.intp, len(keys))

    def add(self, key: Key, values: Sequence[float | None], now: float) -> Key | None:
        """Take in one observation; return the key that lost its row to it, if one did.

        Args:
            key: Of what it was made.
            values: One per measure; None where nothing was measured.
            now: When; a clock that goes back fades nothing.
        """
        row, lost = self._row_for(key)
        data, count = self._data[:, row], self._count
        at = now / self._half_life
        data *= math.exp2(-max(0.0, at - self._at[row]))
        for measure, value in enumerate(values):
            if value is not None:
                data[measure] += value
                data[count + measure] += 1.0
                data[2 * count + measure] += value * value
                if data[count + measure] > MAX_OBSERVATIONS:
                    data[measure::count] *= MAX_OBSERVATIONS / data[count + measure]
        self._at[row] = max(self._at[row], at)
        self._latest = max(self._latest, at)
        return lost

    def forget(self, key: Key, measure: Measure) -> None:
        """Drop what was observed of one measure."""
        row = self.row(key)
        if row:
            self._data[measure :: self._count, row] = 0.0

    def read(self, rows: NDArray[np.intp], now: float) -> Evidence:
        """Return a copy of what the rows hold at `now`, or at the latest observation if later."""
        at = max(now / self._half_life, self._latest)
        return Evidence(self._data.take(rows, axis=1), np.exp2(self._at.take(rows) - at))

    def _row_for(self, key: Key) -> tuple[int, Key | None]:
        row, lost = self._rows.get(key), None
        if row is None:
            self.generation += 1
            if len(self._rows) >= self._most:
                lost, row = self._rows.popitem(last=False)
            else:
                row = len(self._rows) + 1
                self._grow(row)
            self._data[:, row] = 0.0
            self._at[row] = -math.inf
            self._rows[key] = row
        self._rows.move_to_end(key)
        return row, lost

    def _grow(self, row: int) -> None:
        size = len(self._at)
        if row >= size:
            self._data = np.hstack([self._data, np.zeros_like(self._data)])
            self._at = np.concatenate([self._at, np.full(size, -math.inf)])
