"""Who answers: the cheapest model whose chance is high enough, now and then one to learn about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrouter.selector.evidence import Array

__all__ = ["NEVER", "Exploration", "Pick", "pick"]

_HAIR = 1e-12
"""Differences below it come from rounding."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """How much traffic may go to models of which little is known."""

    ceiling: float = 0.05
    """Share of requests that are ever sent elsewhere to learn, 0 (never) to 0.2."""
    enough: int = 200
    """Grades after which a model is not explored any more; until then the share falls evenly."""


NEVER = Exploration(ceiling=0.0)


@dataclass(frozen=True, slots=True)
class Pick:
    """Which of m options come first."""

    first: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """m: one, or several between which nothing tells a difference."""
    needed: float
    """The chance that was asked for, 0 to 1."""
    cleared: bool
    """Whether any option has it."""
    explored: bool = False
    """Whether the first was taken to learn about it."""
    propensity: float = 1.0
    """With which probability the first was taken: what an off-policy evaluation divides by."""


def pick(
    chances: Array,
    grades: Array,
    costs: Array,
    *,
    min_quality: float = 0.0,
    tolerance: float = 0.05,
    exploration: Exploration = NEVER,
    draw: float = 1.0,
) -> Pick:
    """Pick among the options of one request.

    First the cheapest whose chance clears `min_quality`; without such a wish, the cheapest whose
    chance is at most `tolerance` below the best one. Whoever follows is ordered by chance. When no
    chance clears the wish the best comes first: filters, not this policy, refuse requests.

    Args:
        chances: m, 0 to 1: of answering well; of those that filters left over, at least one.
        grades: m: how many graded answers each chance rests on.
        costs: m, US dollars for this request.
        min_quality: The caller's wish, 0 to 1; 0 for none.
        tolerance: What the cheaper model may be worse, 0 to 1.
        exploration: Bounds exploration; `NEVER` for callers who opt out.
        draw: Uniform in [0, 1), from a hash of the request, so that repeats meet the same model.

    Raises:
        ValueError: There is no option.
    """
    if not len(chances):
        raise ValueError("there is no option to choose from")
    needed = min_quality or max(0.0, float(chances.max()) - tolerance)
    clearing = chances >= needed - _HAIR
    cleared = bool(clearing.any())
    first = clearing & (costs == costs[clearing].min()) if cleared else np.ones_like(clearing)
    first &= chances == chances[first].max()
    least = grades == grades.min()
    least &= chances == chances[least].max()
    share = 0.0
    if not (least & first).any():
        missing = max(0.0, 1 - float(grades.min()) / max(1, exploration.enough))
        share = exploration.ceiling * missing
    if draw < share:
        return Pick(least, needed, cleared, explored=True, propensity=share)
    return Pick(first, needed, cleared, propensity=1 - share)
