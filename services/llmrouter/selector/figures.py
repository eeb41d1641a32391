"""All numbers that one choice looks at, and what follows from them for one request.

`Figures` are the live ones, copied when the choice is made, so that it can be made again from them.
`Frame` is what a request is expected to need on each row of the catalog, vectorised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.evidence import Array, Measure
from llmrouter.selector.plan import Selection, draw_of
from llmrouter.selector.statistics import prefill_pace
from llmrouter.selector.view import CatalogView, Flags, Loads

__all__ = ["Care", "Figures", "Frame", "estimate"]

UPPER_MARGIN = 1.2
"""Prompt tokens are taken this much higher than bytes per token say."""
LOWER_MARGIN = 0.5
"""Factor for the shortest time that can be hoped for."""
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


class Figures(NamedTuple):
    """The live numbers of n rows and e endpoints at one moment."""

    believed: Array
    """measures x n: the decayed means drawn towards what each model was believed to be."""
    bytes_per_token: Array
    """n: UTF-8 bytes of prompt per token, as each one's tokenizer is believed to make them."""
    spread: Array | None
    """measures x n: standard deviations; None where no ceiling on times asks for them."""
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
    probing: Flags | None = None
    """e: whether its circuit breaker is half open; None where none is."""
    preferred: NDArray[np.intp] | None = None
    """n: the row that a rollout sends this request to instead, or -1; None while there is none."""
    predicted: Array | None = None
    """n: the chance that each answers well, 0 to 1; None where the strategy does not ask."""
    graded: Array | None = None
    """n: graded answers that each chance rests on; None where the strategy does not ask."""

    @property
    def bytes(self) -> int:
        """Memory of all arrays."""
        size = self.believed.nbytes + self.bytes_per_token.nbytes + 5 * self.requests.nbytes
        for extra in (
            self.spread,
            self.turns,
            self.blocked,
            self.drained,
            self.probing,
            self.preferred,
            self.predicted,
            self.graded,
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
    needed: Array
    """Tokens of context that the prompt, as estimated, and the answer need."""
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
    busy: Array
    """Requests that run or wait at each endpoint."""
    out: Flags | None
    """Endpoints that may not be planned with; None where all may."""
    tried: Flags | None
    """Endpoints that have failed this request; None where none has."""
    shut: Flags | None
    """Rows that have no available endpoint; None where all have one."""
    context: Array
    """Of each row: tokens that fit on the roomiest available endpoint."""
    away: Flags
    """Rows that cannot generate now: their services are silent, or every endpoint drains or has an
    open circuit breaker. Answers that they gave may be kept."""
    any_away: bool
    fitting: Flags
    """Rows that pass every filter, once those were asked."""
    _queue: Array
    _pressure: Array | None = None

    @property
    def draw(self) -> int:
        """The number that all of the request's draws are made from, 64 bits."""
        return draw_of(self.request)

    @property
    def pressure(self) -> Array:
        """Of each endpoint: 0 is idle, 1 is as many requests as slots, infinite is not available.

        Computed when it is asked for, which choices by other things among single replicas never do.
        """
        if self._pressure is None:
            view, figures = self.view, self.figures
            work = np.maximum(self.busy, figures.tokens / TYPICAL_TOKENS) / view.slots
            pressure = work + figures.loads.cache
            self._pressure = pressure if self.out is None else np.where(self.out, np.inf, pressure)
        return self._pressure

    @property
    def least_pressure(self) -> Array:
        """Of each row: that of its least busy endpoint."""
        return self.view.least(self.pressure)

    @property
    def fewest_tokens(self) -> Array:
        """Tokens below which no prompt of this size can be; 0 where nothing is known."""
        return np.ceil(self.request.prompt_bytes / self.view.longest_token)

    def unprobed(self, places: Sequence[int]) -> list[int]:
        """Return those of the endpoints that are not being probed."""
        probing = self.figures.probing
        return [one for one in places if probing is None or not probing[one]]

    def times(self, care: Care) -> tuple[Array, Array]:
        """Return seconds to the first token and in all, estimated with so much care."""
        believed, tokens, scale = self.figures.believed, self.prompt_tokens, 1.0
        if care is Care.CAREFUL:
            spread = self.figures.spread
            believed = believed if spread is None else believed + DEVIATIONS * spread
        else:
            tokens = self.request.prompt_bytes / self.figures.bytes_per_token
            scale = LOWER_MARGIN if care is Care.HOPEFUL else 1.0
        queue = self._queue * scale
        first = believed[Measure.PREFILL] * (tokens + _PACE) * queue
        answer = self.output_tokens / self.request.n * believed[Measure.PER_TOKEN] * queue
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
    likely = request.prompt_bytes * UPPER_MARGIN / figures.bytes_per_token
    prompt = np.floor(likely) + TEMPLATE_TOKENS
    output = (request.max_tokens or expected_output_tokens) * request.n
    tried = _tried(request, view)
    resting = _resting(view, figures)
    away = view.away if resting is None else view.away | resting
    any_away = view.any_away or resting is not None
    out = _unavailable(view, figures, tried, away if any_away else None)
    busy, waiting = _load(view, figures, out)
    fewest_waiting = view.least(waiting)
    # Relative to the slots of one replica: replicas of a version are taken to be alike.
    queue = 1.0 + fewest_waiting / view.first_slots
    prefill, per_token = believed[Measure.PREFILL :] * queue
    first = prefill * (prompt + _PACE)
    answer = per_token * (output / request.n)  # several of one prompt are generated side by side
    return Frame(
        request=request,
        view=view,
        figures=figures,
        prompt_tokens=prompt,
        needed=prompt + max(1, request.max_tokens),
        output_tokens=output,
        cost=prompt * view.input_price + output * view.output_price,
        first=first,
        seconds=first + answer,
        error_rate=believed[Measure.ERROR],
        waiting=fewest_waiting,
        busy=busy,
        out=out,
        tried=tried,
        shut=None if out is None else view.every(out),
        context=view.largest if out is None else view.most(np.where(out, 0.0, view.context)),
        away=away,
        any_away=any_away,
        fitting=view.none,
        _queue=queue,
    )


def _tried(request: Selection, view: CatalogView) -> Flags | None:
    """Return the endpoints at which the request failed, or must fail as it did elsewhere."""
    if not request.tried:
        return None
    tried = np.zeros(len(view.endpoints), np.bool_)
    for model, version, address, too_long in request.tried:
        row, place = view.rows.get((model, version)), view.places.get((model, version, address))
        if row is None:
            continue
        own = view.row_of == row
        if not address:
            tried |= own
        elif place is not None:
            tried[place] = True
            if too_long:
                tried |= own & (view.context <= view.context[place])
    return tried if tried.any() else None


def _resting(view: CatalogView, figures: Figures) -> Flags | None:
    """Return the rows whose endpoints all drain or are left alone; None where there is none."""
    if figures.blocked is None:
        return None
    resting = view.every(figures.blocked)
    return resting if resting.any() else None


def _unavailable(
    view: CatalogView, figures: Figures, tried: Flags | None, away: Flags | None
) -> Flags | None:
    """Return the endpoints that may not be planned with; None where all may."""
    out = figures.blocked
    if out is not None and away is not None:
        # Nothing is asked of those that are away, so that nothing has to be kept from them.
        out = out & ~away[view.row_of]
    if tried is None:
        return out
    return tried if out is None else out | tried


def _load(view: CatalogView, figures: Figures, out: Flags | None) -> tuple[Array, Array]:
    """Return of each endpoint the requests that run or wait, and those that wait.

    Reports are up to an interval old: plans issued since count by themselves.
    """
    busy = np.maximum(figures.loads.reported, figures.requests)
    waiting = np.maximum(figures.loads.waiting, busy - view.slots)
    return busy, waiting if out is None else np.where(out, np.inf, waiting)
