"""Rotary angles, and what stretches a context beyond the one a model was trained on.

Each way of stretching that is known here changes frequencies once, or scales cosines and sines: it
is exact in the caches of angles that a graph carries. Ways that look at a text's length are exact
up to the length where they begin to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Rope", "divided", "linear", "llama3", "plain", "yarn"]


@dataclass(frozen=True, slots=True)
class Rope:
    """How a head's pairs turn from one position to the next."""

    base: float
    """Of the original frequencies, whatever became of them."""
    frequencies: tuple[float, ...]
    """Radians per position, one for each pair."""
    magnitude: float = 1.0
    """By what cosines and sines are multiplied."""


def plain(base: float, head_size: int) -> Rope:
    """Return the frequencies of the original (Su et al. 2021)."""
    return Rope(base, tuple(base ** (-2 * pair / head_size) for pair in range(head_size // 2)))


def linear(rope: Rope, factor: float) -> Rope:
    """Return positions divided by `factor` (Chen et al. 2023)."""
    return divided(rope, [factor] * len(rope.frequencies))


def divided(rope: Rope, factors: Sequence[float], magnitude: float = 1.0) -> Rope:
    """Return each frequency divided by its factor."""
    pairs = zip(rope.frequencies, factors, strict=True)
    return Rope(rope.base, tuple(one / factor for one, factor in pairs), magnitude)


def llama3(rope: Rope, factor: float, low: float, high: float, original: int) -> Rope:
    """Return what Llama 3.1 does: slow pairs are divided by `factor`, fast ones stay.

    Args:
        rope: The original.
        factor: By what slow ones are divided.
        low: Turns within the original context below which a pair is slow.
        high: Turns above which it is fast; between them factors blend.
        original: The context of training, in tokens.
    """

    def stretched(frequency: float) -> float:
        turns = original * frequency / (2 * math.pi)
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        return share * frequency + (1 - share) * frequency / factor

    return Rope(rope.base, tuple(map(stretched, rope.frequencies)), rope.magnitude)


def yarn(
    rope: Rope, factor: float, original: int,
    *, fast: float = 32.0, slow: float = 1.0, magnitude: float | None = None,
) -> Rope:  # fmt: skip
    """Return YaRN's frequencies and magnitude (Peng et al. 2023).

    Args:
        rope: The original.
        factor: By what slow pairs are divided.
        original: The context of training, in tokens.
        fast: Turns within the original context above which a pair stays as it is.
        slow: Turns below which it is divided whole.
        magnitude: Of the result; None is the paper's.
    """
    count = len(rope.frequencies)

    def pair_of(turns: float) -> float:
        return count * math.log(original / (turns * 2 * math.pi)) / math.log(rope.base)

    low = max(math.floor(pair_of(fast)), 0)
    high = min(math.ceil(pair_of(slow)), 2 * count - 1)
    made = []
    for pair, frequency in enumerate(rope.frequencies):
        share = min(1.0, max(0.0, (pair - low) / max(high - low, 0.001)))
        made.append((1 - share) * frequency + share * frequency / factor)
    if magnitude is None:
        magnitude = 1.0 if factor <= 1 else 0.1 * math.log(factor) + 1.0
    return Rope(rope.base, tuple(made), magnitude)
