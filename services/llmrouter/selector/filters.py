"""Filters: each says for all rows at once who may not answer, and for one row why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmrouter.common.capabilities import EMBEDDING
from llmrouter.common.money import dollars
from llmrouter.selector.figures import Frame
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import Flags

__all__ = ["FILTERS", "OPEN", "Filter", "failed_filters", "shut_why"]

OPEN = "open"
"""What breakers are that let nothing through."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition that a model must meet."""

    name: str
    fails: Callable[[Frame, Strategy], Flags | None]
    """Returns which rows may not answer; None where the request sets no such condition."""
    why: Callable[[Frame, Strategy, int], str]
    """Returns one phrase for people: what a row that fails lacks."""


def failed_filters(frame: Frame, strategy: Strategy) -> list[tuple[Filter, Flags]]:
    """Return the filters that some row fails, each with the rows."""
    found = []
    for one in FILTERS:
        fails = one.fails(frame, strategy)
        if fails is not None and fails.any():
            found.append((one, fails))
    return found


def _cannot(frame: Frame, _: Strategy) -> Flags | None:
    return frame.view.lacking(frame.request.capabilities)


def _cannot_why(frame: Frame, _: Strategy, row: int) -> str:
    missing = sorted(frame.request.capabilities - frame.view.models[row].capabilities)
    if EMBEDDING in missing:
        return "it turns no texts into vectors; load an embedding model"
    return f"it cannot do {', '.join(missing)}"


def _untagged(frame: Frame, _: Strategy) -> Flags | None:
    lacking = None
    for name in frame.request.wishes.tags:
        missing = ~frame.view.tagged.get(name, frame.view.none)
        lacking = missing if lacking is None else lacking | missing
    return lacking


def _untagged_why(frame: Frame, _: Strategy, row: int) -> str:
    tags = frame.view.models[row].entry.tags
    missing = [tag for tag in frame.request.wishes.tags if tag not in tags]
    return f"it is not tagged {', '.join(missing)}"


def _forbidden(frame: Frame, _: Strategy) -> Flags | None:
    view, tenant = frame.view, frame.request.tenant
    if not view.restricted:
        return None
    fails = view.none.copy()
    for row in view.restricted:
        entry = view.models[row].entry
        allowed = not entry.allow_tenants or tenant in entry.allow_tenants
        fails[row] = not allowed or tenant in entry.deny_tenants
    return fails


def _forbidden_why(frame: Frame, _: Strategy, row: int) -> str:
    return f"the tenant {frame.request.tenant} may not use it"


def _unlisted(frame: Frame, _: Strategy) -> Flags | None:
    if not frame.request.models:
        return None
    view = frame.view
    listed = view.catalog.models_named(frame.request.models)
    return np.fromiter((one.name not in listed for one in view.models), np.bool_, len(view.models))


def _unlisted_why(frame: Frame, _: Strategy, row: int) -> str:
    return "the caller may not use it"


def _shut(frame: Frame, _: Strategy) -> Flags | None:
    return frame.shut


def _shut_why(frame: Frame, _: Strategy, row: int) -> str:
    return shut_why(frame, row)


def shut_why(frame: Frame, row: int) -> str:
    """Return why none of a row's endpoints is available; one phrase for people."""
    places = slice(*frame.view.starts[row : row + 2])
    none = np.zeros(len(frame.view.replicas(row)), np.bool_)
    tried = none if frame.tried is None else frame.tried[places]
    drains = none if frame.figures.drained is None else frame.figures.drained[places] & ~tried
    if tried.all():
        return "it has failed this request already"
    if drains.all():
        return "every replica is draining"
    failed, drained = int(tried.sum()), int(drains.sum())
    broken = len(none) - failed - drained
    noun = "1 circuit breaker is" if broken == 1 else f"{broken} circuit breakers are"
    told = (
        f"{noun} {OPEN}" if broken else "",
        f"{drained} drain" if drained else "",
        f"{failed} failed this request already" if failed else "",
    )
    return ", ".join(filter(None, told))


def _weightless(frame: Frame, strategy: Strategy) -> Flags | None:
    return frame.view.weight <= 0 if strategy.weights.get("weight") else None


def _weightless_why(frame: Frame, _: Strategy, row: int) -> str:
    return "its weight is 0"


def _floor(frame: Frame, strategy: Strategy) -> float:
    return max(frame.request.wishes.min_quality, strategy.min_quality)


def _too_poor(frame: Frame, strategy: Strategy) -> Flags | None:
    floor = _floor(frame, strategy)
    predicted = frame.figures.predicted
    quality = frame.view.quality if predicted is None else predicted
    return quality < floor if floor > 0 else None


def _too_poor_why(frame: Frame, strategy: Strategy, row: int) -> str:
    predicted, floor = frame.figures.predicted, _floor(frame, strategy)
    if predicted is not None:
        chance = predicted[row]
        return f"predicted quality {chance:.3f} is below the required {floor:.3f}"
    return f"quality {frame.view.quality[row]:.3f} is below the required {floor:.3f}"


def _too_dear(frame: Frame, _: Strategy) -> Flags | None:
    ceiling = frame.request.wishes.max_cost
    return frame.cost > ceiling if ceiling > 0 else None


def _too_dear_why(frame: Frame, _: Strategy, row: int) -> str:
    ceiling = frame.request.wishes.max_cost
    assumed = " by an assumed price" if frame.view.models[row].prices.assumed else ""
    cost = frame.cost[row]
    return f"estimated cost {dollars(cost)}{assumed} is above the ceiling {dollars(ceiling)}"


FILTERS = (
    Filter("capabilities", _cannot, _cannot_why),
    Filter("tags", _untagged, _untagged_why),
    Filter("tenant", _forbidden, _forbidden_why),
    Filter("allowed", _unlisted, _unlisted_why),
    Filter("endpoints", _shut, _shut_why),
    Filter("weight", _weightless, _weightless_why),
    Filter("quality", _too_poor, _too_poor_why),
    Filter("cost", _too_dear, _too_dear_why),
)
"""In the order in which a model that fails several is told why. Context and latency are not among
them: what is estimated on purpose with a margin is dealt with in `leniency.py`."""
