"""Pickers: each turns scores into an order, the primary first.

What is drawn follows from the request alone, so that the same question meets the same model, and
each candidate's draw from its own name: who else is there, and in which order, changes nothing
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.evidence import Array
from llmrouter.selector.plan import Selection, draw_of

__all__ = ["PICKERS", "Draws", "Picker", "uniforms"]

Order = NDArray[np.intp]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_11, _27, _30, _31 = (np.uint64(bits) for bits in (11, 27, 30, 31))


@dataclass
class Draws:
    """What a picker may draw from, for m candidates; nothing is drawn before it is asked for."""

    request: Selection
    """Whose number all draws are made from."""
    salts: NDArray[np.uint64]
    """n: the numbers of all rows."""
    rows: Order
    """m: those of the candidates."""
    turns: NDArray[np.int64] | None = None
    """n: when `round-robin` came to each row last; 0 is never."""

    @cached_property
    def uniform(self) -> Array:
        """Numbers over 0 to below 1, one for each candidate and this request."""
        return uniforms(draw_of(self.request), self.salts[self.rows])


Picker = Callable[[Array, Draws], Order]
"""Returns the order of the candidates by their scores."""


def uniforms(draw: int, salts: NDArray[np.uint64]) -> Array:
    """Return a number over 0 to below 1 for each salt (SplitMix64; Steele, Lea and Flood, 2014)."""
    mixed = (salts ^ np.uint64(draw)) + _GOLDEN  # arrays of integers wrap around silently
    mixed = (mixed ^ (mixed >> _30)) * _FIRST
    mixed = (mixed ^ (mixed >> _27)) * _SECOND
    mixed ^= mixed >> _31
    return ((mixed >> _11).astype(np.float64) + 0.5) / 2.0**53


def best(scores: Array, draws: Draws) -> Order:
    """Order by score; equals take turns by the request."""
    order: Order = scores.argsort()[::-1]
    sorted_scores = scores[order]
    if np.count_nonzero(sorted_scores[1:] < sorted_scores[:-1]) == len(order) - 1:
        return order
    return np.lexsort((draws.uniform, -scores))


def weighted_random(scores: Array, draws: Draws) -> Order:
    """Draw one after another without replacement, each by its share of the scores that are left.

    Exponential races give that order (Efraimidis and Spirakis, 2006). A score of 0 comes last; only
    the relations of the scores count.
    """
    largest = scores.max()
    if largest <= 0:
        return np.argsort(draws.uniform)
    # A share of 0, or next to it, never arrives.
    with np.errstate(divide="ignore", over="ignore"):
        arrival = -np.log(draws.uniform) / (scores / largest)
    return np.lexsort((draws.uniform, arrival))


def power_of_two(scores: Array, draws: Draws) -> Order:
    """Draw two, the better one first (Mitzenmacher, 2001); the others follow by their scores.

    Where scores are a moment old, it does not send everyone to the same one.
    """
    two = np.argsort(draws.uniform)[:2]
    order = best(scores, draws)
    if scores[two[-1]] > scores[two[0]]:
        two = two[::-1]
    return np.concatenate([two[:1], order[order != two[0]]])


def round_robin(scores: Array, draws: Draws) -> Order:
    """Order by turn: whoever was first longest ago is first; those that never were, drawn."""
    turns = np.zeros(len(scores)) if draws.turns is None else draws.turns[draws.rows]
    return np.lexsort((draws.uniform, turns))


PICKERS: Mapping[str, Picker] = {
    "best": best,
    "weighted-random": weighted_random,
    "power-of-two": power_of_two,
    "round-robin": round_robin,
}
"""Every picker by name."""
