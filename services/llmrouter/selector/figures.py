"""All numbers that one choice looks at, and what follows from them for one request.

`Figures` are the live ones, copied when the choice is made, so that it can be made again from them.
`Frame` is what a request is expected to need on each row of the catalog, vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.evidence import Array, Measure
from llmrouter.selector.plan import Selection
from llmrouter.selector.statistics import PRIORS, prefill_pace
from llmrouter.selector.view import CatalogView, Flags, Loads

__all__ = ["Care", "Figures", "Frame", "estimate"]

UPPER_MARGIN = 1.2
"""Prompt tokens are taken this much higher than bytes per token say."""
LOWER_MARGIN = 0.5
"""Factor for the fewest tokens a prompt can be expected to have, and the shortest time."""
TEMPLATE_TOKENS = 32
"""Tokens a chat template adds at most, in the upper estimate."""
DEVIATIONS = 2.0
"""A time is taken so many standard deviations above its mean where a ceiling must hold."""
TYPICAL_TOKENS = 512
"""Tokens that weigh as one request where the load of replicas is compared."""
_PACE = 1 / prefill_pace(1.0, 0)


class Care(Enum):
    """How a time is estimated, the most careful way first."""

    CAREFUL = "careful"
    """With the margin of the prompt's tokens, and two standard deviations above the mean."""
    LIKELY = "likely"
    """As it is expected."""
    HOPEFUL = "hopeful"
    """Half of that: less can hardly be."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The live numbers of n rows and e endpoints at one moment."""

    believed: Array
    """n x measures: the decayed means drawn towards what each model was believed to be."""
    spread: Array | None
    """n x measures: standard deviations; None where no ceiling on times asks for them."""
    turns: NDArray[np.int64] | None
    """n: when `round-robin` came to each row last; 0 is never. None for other pickers."""
    loads: Loads
    """What the endpoints said of themselves."""
    requests: Array
    """e: plans there whose outcome is not known yet."""
    tokens: Array
    """e: tokens of those plans."""
    blocked: Flags | None
    """e: whether it drains or its circuit breaker lets nothing more through; None where none."""
    drained: Flags | None
    """e: whether it drains; None where none does."""
    preferred: NDArray[np.intp] | None = None
    """n: the row that a rollout sends this request to instead, or -1; None while there is none."""
    predicted: Array | None = None
    """n: the chance that each answers well, 0 to 1; None where the strategy does not ask."""

    @property
    def bytes(self) -> int:
        """Memory of all arrays."""
        size = self.believed.nbytes + 5 * self.requests.nbytes
        for extra in (
            self.spread,
            self.turns,
            self.blocked,
            self.drained,
            self.preferred,
            self.predicted,
        ):
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
    away: Flags | None
    """Rows that have no available endpoint; None where all have one."""
    fitting: Flags
    """Rows that pass every filter, once those were asked."""
    _queue: Array

    def fewest_prompt_tokens(self) -> Array:
        """Return the fewest tokens that the prompt can be expected to have."""
        # What refuses a request must not be talked down: callers teach the learned figure.
        surest = np.maximum(self.figures.believed[:, Measure.BYTES], PRIORS.bytes_per_token)
        return np.maximum(1.0, np.floor(LOWER_MARGIN * self.request.prompt_bytes / surest))

    def times(self, care: Care) -> tuple[Array, Array]:
        """Return seconds to the first token and in all, estimated with so much care."""
        believed, tokens, scale = self.figures.believed, self.prompt_tokens, 1.0
        if care is Care.CAREFUL:
            spread = self.figures.spread
            believed = believed if spread is None else believed + DEVIATIONS * spread
        else:
            tokens = self.request.prompt_bytes / np.maximum(1.0, believed[:, Measure.BYTES])
            scale = LOWER_MARGIN if care is Care.HOPEFUL else 1.0
        queue = self._queue * scale
        first = believed[:, Measure.PREFILL] * (tokens + _PACE) * queue
        answer = self.output_tokens / self.request.n * believed[:, Measure.PER_TOKEN] * queue
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
    believed = figures.believed
    learned = np.maximum(1.0, believed[:, Measure.BYTES])
    prompt = np.floor(request.prompt_bytes * UPPER_MARGIN / learned) + TEMPLATE_TOKENS
    output = (request.max_tokens or expected_output_tokens) * request.n
    waiting, pressure = _load(view, figures)
    fewest_waiting, least_pressure = view.least(waiting), view.least(pressure)
    # Relative to the slots of one replica: replicas of a version are taken to be alike.
    queue = 1.0 + fewest_waiting / view.first_slots
    first = believed[:, Measure.PREFILL] * (prompt + _PACE) * queue
    # Several answers to one prompt are generated side by side.
    answer = output / request.n * believed[:, Measure.PER_TOKEN] * queue
    return Frame(
        request=request,
        view=view,
        figures=figures,
        prompt_tokens=prompt,
        output_tokens=output,
        cost=(prompt * view.input_price + output * view.output_price) / 1e6,
        first=first,
        seconds=first + answer,
        error_rate=believed[:, Measure.ERROR],
        waiting=fewest_waiting,
        pressure=pressure,
        least_pressure=least_pressure,
        away=np.isinf(least_pressure) if figures.blocked is not None else None,
        fitting=view.none,
        _queue=queue,
    )


def _load(view: CatalogView, figures: Figures) -> tuple[Array, Array]:
    """Return of each endpoint the requests that wait, and how busy it is.

    Reports are up to an interval old: plans issued since count by themselves.
    """
    slots = view.slots
    loads = figures.loads
    busy = np.maximum(loads.reported, figures.requests)
    waiting = np.maximum(loads.waiting, busy - slots)
    work = np.maximum(busy, figures.tokens / TYPICAL_TOKENS) / slots
    pressure = work + loads.cache
    out = figures.blocked
    if out is not None:
        waiting, pressure = np.where(out, np.inf, waiting), np.where(out, np.inf, pressure)
    return waiting, pressure
