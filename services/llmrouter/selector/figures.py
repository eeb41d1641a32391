"""All numbers that one choice looks at, and what follows from them for one request.

`Figures` are the live ones, copied when the choice is made, so that it can be made again from them.
`Frame` is what a request is expected to need on each row of the catalog, vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.evidence import Array, Evidence, Measure
from llmrouter.selector.plan import Selection
from llmrouter.selector.statistics import PRIORS, prefill_pace
from llmrouter.selector.view import CatalogView, Flags

__all__ = ["Figures", "Frame", "estimate"]

UPPER_MARGIN = 1.2
"""Prompt tokens are taken this much higher than bytes per token say."""
LOWER_MARGIN = 0.5
"""Factor for the fewest tokens a prompt can be expected to have."""
TEMPLATE_TOKENS = 32
"""Tokens a chat template adds at most, in the upper estimate."""
DEVIATIONS = 2.0
"""A time is taken so many standard deviations above its mean where a ceiling must hold."""
TYPICAL_TOKENS = 512
"""Tokens that weigh as one request where the load of replicas is compared."""
CACHE_WEIGHT = 0.25
"""How much the fullest cache weighs, in requests per slot."""
_PACE = 1 / prefill_pace(1.0, 0)


@dataclass(frozen=True, slots=True)
class Figures:
    """The live numbers of n rows and e endpoints at one moment."""

    evidence: Evidence
    """Of the rows."""
    turns: NDArray[np.int64]
    """n: when `round-robin` came to each row last; 0 is never."""
    requests: Array
    """e: plans there whose outcome is not known yet."""
    tokens: Array
    """e: tokens of those plans."""
    blocked: Flags
    """e: whether its circuit breaker lets nothing more through."""
    versions: Flags | None = None
    """n: whether a rollout sends this request to another version; None while there is none."""
    predicted: Array | None = None
    """n: the chance that each answers well, 0 to 1; None where the strategy does not ask."""

    @property
    def bytes(self) -> int:
        """Memory of all arrays."""
        size = 3 * self.evidence.sums.nbytes + self.evidence.fade.nbytes + self.turns.nbytes
        size += 2 * self.requests.nbytes + self.blocked.nbytes
        for extra in (self.versions, self.predicted):
            size += 0 if extra is None else extra.nbytes
        return size


@dataclass(slots=True)
class Frame:
    """What a request is expected to need on each of n rows."""

    request: Selection
    view: CatalogView
    figures: Figures
    prompt_tokens: Array
    """With the upper margin."""
    fewest_prompt_tokens: Array
    output_tokens: int
    cost: Array
    """US dollars."""
    first: Array
    """Seconds to the first token, waiting included."""
    seconds: Array
    """Until the answer is complete, waiting included."""
    error_rate: Array
    waiting: Array
    """Requests that wait on the replica with the fewest."""
    pressure: Array
    """Of each endpoint: 0 is idle, 1 is as many requests as slots, infinite is not available."""
    least_pressure: Array
    """Of each row: that of its least busy endpoint."""
    _believed: Array
    _queue: Array

    def upper(self) -> tuple[Array, Array]:
        """Return seconds to the first token and in all, as they are at most, likely."""
        priors, evidence = self.view.priors, self.figures.evidence
        high = self._believed + DEVIATIONS * evidence.spread(self._believed, priors)
        first = high[:, Measure.PREFILL] * (self.prompt_tokens + _PACE) * self._queue
        answer = self.output_tokens / self.request.n * high[:, Measure.PER_TOKEN] * self._queue
        return first, first + answer


def estimate(
    request: Selection, view: CatalogView, figures: Figures, expected_output_tokens: int
) -> Frame:
    """Return what a request needs on each row.

    Args:
        request: Its sizes and wishes.
        view: The catalog.
        figures: The live numbers.
        expected_output_tokens: Answer length assumed when the request sets no limit.
    """
    believed = figures.evidence.believed(view.priors)
    learned = np.maximum(1.0, believed[:, Measure.BYTES])
    prompt = np.floor(request.prompt_bytes * UPPER_MARGIN / learned) + TEMPLATE_TOKENS
    # What refuses a request must not be talked down: callers teach the learned figure.
    surest = np.maximum(learned, PRIORS.bytes_per_token)
    fewest = np.maximum(1.0, np.floor(LOWER_MARGIN * request.prompt_bytes / surest))
    output = (request.max_tokens or expected_output_tokens) * request.n
    waiting, pressure = _load(view, figures)
    starts = view.starts[:-1]
    fewest_waiting = np.minimum.reduceat(waiting, starts)
    # Relative to the slots of one replica: replicas of a version are taken to be alike.
    queue = 1.0 + fewest_waiting / view.slots[starts]
    first = believed[:, Measure.PREFILL] * (prompt + _PACE) * queue
    # Several answers to one prompt are generated side by side.
    answer = output / request.n * believed[:, Measure.PER_TOKEN] * queue
    return Frame(
        request=request,
        view=view,
        figures=figures,
        prompt_tokens=prompt,
        fewest_prompt_tokens=fewest,
        output_tokens=output,
        cost=(prompt * view.input_price + output * view.output_price) / 1e6,
        first=first,
        seconds=first + answer,
        error_rate=believed[:, Measure.ERROR],
        waiting=fewest_waiting,
        pressure=pressure,
        least_pressure=np.minimum.reduceat(pressure, starts),
        _believed=believed,
        _queue=queue,
    )


def _load(view: CatalogView, figures: Figures) -> tuple[Array, Array]:
    """Return of each endpoint the requests that wait, and how busy it is.

    Reports are up to an interval old: plans issued since count by themselves.
    """
    slots = view.slots
    busy = np.maximum(view.reported, figures.requests)
    waiting = np.maximum(view.reported_waiting, busy - slots)
    work = np.maximum(busy, figures.tokens / TYPICAL_TOKENS) / slots
    pressure = work + CACHE_WEIGHT * view.cache_share
    out = figures.blocked | view.draining
    if out.any():
        waiting, pressure = np.where(out, np.inf, waiting), np.where(out, np.inf, pressure)
    return np.maximum(0.0, waiting), pressure
