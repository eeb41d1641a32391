"""Strategies: what counts how much. Other packages register theirs as `llmrouter.strategies`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.settings import StrategyWeights

__all__ = [
    "BALANCED",
    "BUILT_IN",
    "COST_OPTIMIZED",
    "GROUP",
    "QUALITY_FIRST",
    "SPEED_PRIORITY",
    "Strategy",
    "find_strategy",
    "load_strategies",
]

GROUP = "llmrouter.strategies"
"""Entry point group whose members are `Strategy` values."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How candidates are ranked: by the sum of weight x value, after `min_quality`."""

    name: str
    speed: float = 0.0
    quality: float = 0.0
    cost: float = 0.0
    compatibility: float = 1.0
    min_quality: float = 0.0
    """Models of lower quality are excluded, 0 to 1; a request may ask for more."""
    cost_per_quality: bool = False
    """Whether `cost` judges quality per dollar among the candidates instead of dollars alone."""


BALANCED = Strategy("balanced", speed=0.3, quality=0.4, cost=0.3)
QUALITY_FIRST = Strategy("quality-first", speed=0.01, quality=1.0, cost=0.01)
COST_OPTIMIZED = Strategy("cost-optimized", cost=1.0, min_quality=0.2, cost_per_quality=True)
SPEED_PRIORITY = Strategy("speed-priority", speed=1.0, quality=0.05, cost=0.05)

BUILT_IN = (BALANCED, QUALITY_FIRST, COST_OPTIMIZED, SPEED_PRIORITY)


def load_strategies(balanced: StrategyWeights | None = None) -> dict[str, Strategy]:
    """Return every registered strategy by name; one that cannot be loaded is logged and left out.

    Args:
        balanced: Weights for `balanced`; None keeps the registered ones.
    """
    found = {strategy.name: strategy for strategy in BUILT_IN}
    for point in entry_points(group=GROUP):
        try:
            strategy = point.load()
        except Exception:  # noqa: BLE001 - a foreign package must not stop the service
            _log.exception("strategy %s (%s) cannot be loaded", point.name, point.value)
            continue
        if isinstance(strategy, Strategy):
            found[point.name] = replace(strategy, name=point.name)
        else:
            _log.error("strategy %s (%s) is not a Strategy", point.name, point.value)
    if balanced is not None:
        found["balanced"] = replace(found["balanced"], **balanced.model_dump())
    return dict(sorted(found.items()))


def find_strategy(strategies: Mapping[str, Strategy], name: str) -> Strategy:
    """Return the strategy of that name.

    Raises:
        RouterError: UNKNOWN_STRATEGY, naming those that exist.
    """
    if name not in strategies:
        raise RouterError(
            Reason.UNKNOWN_STRATEGY,
            f"no strategy is named {name!r}; known: {', '.join(sorted(strategies))}",
            metadata={"strategy": name},
        )
    return strategies[name]
