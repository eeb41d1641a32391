"""Who answers: the cheapest model whose chance is high enough, now and then one to learn about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmrouter.selector.learned.chances import Chance

__all__ = ["NEVER", "Choice", "Exploration", "Option", "choose"]

_HAIR = 1e-12
"""Differences below it come from rounding."""


@dataclass(frozen=True, slots=True)
class Option:
    """One model that may answer."""

    model: str
    chance: Chance
    cost: float
    """US dollars for this request."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """How much traffic may go to models of which little is known."""

    ceiling: float = 0.05
    """Share of requests that are ever sent elsewhere to learn, 0 (never) to 0.2."""
    enough: int = 200
    """Grades after which a model is not explored any more; until then the share falls evenly."""


NEVER = Exploration(ceiling=0.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """The options in the order in which they are to be tried."""

    ordered: tuple[Option, ...]
    reason: str
    """One sentence for people."""
    explored: bool = False
    """Whether the first was taken to learn about it."""
    propensity: float = 1.0
    """With which probability the first was taken: what an off-policy evaluation divides by."""


def choose(
    options: Sequence[Option],
    *,
    min_quality: float = 0.0,
    tolerance: float = 0.05,
    exploration: Exploration = NEVER,
    draw: float = 1.0,
) -> Choice:
    """Order the options of one request.

    First the cheapest whose chance clears `min_quality`; without such a wish, the cheapest whose
    chance is at most `tolerance` below the best one. The others follow by falling chance. When no
    chance clears the wish the best comes first: filters, not this policy, refuse requests.

    Args:
        options: At least one; those that filters left over.
        min_quality: The caller's wish, 0 to 1; 0 for none.
        tolerance: What the cheaper model may be worse, 0 to 1.
        exploration: Bounds exploration; `NEVER` for callers who opt out.
        draw: Uniform in [0, 1), from a hash of the request, so that repeats meet the same model.

    Raises:
        ValueError: There is no option.
    """
    if not options:
        raise ValueError("there is no option to choose from")
    ranked = sorted(options, key=lambda one: (-one.chance.value, one.cost, one.model))
    needed = min_quality or ranked[0].chance.value - tolerance
    clearing = [one for one in ranked if one.chance.value >= needed - _HAIR]
    first = min(clearing, key=lambda one: one.cost) if clearing else ranked[0]
    least, share = _to_explore(ranked, first, exploration)
    if draw < share:
        reason = f"{least.model} to learn about it: {least.chance.grades} graded answers so far"
        return Choice(_ahead(least, ranked), reason, explored=True, propensity=share)
    return Choice(_ahead(first, ranked), _reason(first, needed, clearing), propensity=1 - share)


def _to_explore(
    ranked: Sequence[Option], first: Option, exploration: Exploration
) -> tuple[Option, float]:
    """Return the option that least is known of, and the share of requests that it may have."""
    least = min(ranked, key=lambda one: one.chance.grades)
    if least.model == first.model:
        return least, 0.0
    missing = max(0.0, 1 - least.chance.grades / max(1, exploration.enough))
    return least, exploration.ceiling * missing


def _ahead(first: Option, ranked: Sequence[Option]) -> tuple[Option, ...]:
    return (first, *(one for one in ranked if one is not first))


def _reason(first: Option, needed: float, clearing: Sequence[Option]) -> str:
    chance = f"{first.model}, whose chance of a good answer is {first.chance.value:.0%},"
    if not clearing:
        return f"{chance} comes nearest to {needed:.0%}"
    return f"{chance} is the cheapest of those that reach {needed:.0%}"
