"""Strategies: what counts how much, and how the scores lead to an order.

Other packages register theirs as `llmrouter.strategies`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import entry_points

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.plan_mode import PlanMode
from llmrouter.selector.learned.policy import Exploration
from llmrouter.selector.pickers import PICKERS
from llmrouter.selector.scorers import SCORERS, Scorer, Sufficient
from llmrouter.selector.strategy_settings import LearnedSettings, StrategySettings, StrategyWeights

__all__ = [
    "BALANCED",
    "BUILT_IN",
    "CASCADE",
    "COST_OPTIMIZED",
    "GROUP",
    "LEAST_LOADED",
    "QUALITY_FIRST",
    "RANDOM",
    "ROUND_ROBIN",
    "SPEED_PRIORITY",
    "WEIGHTED",
    "Strategy",
    "find_strategy",
    "learned",
    "load_strategies",
]

GROUP = "llmrouter.strategies"
"""Entry point group whose members are `Strategy` values."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Strategy:
    """How candidates are ranked: by the sum of weight x value, after the filters."""

    name: str
    weights: Mapping[str, float] = field(default_factory=dict)
    """By the scorer's name: 0 or more. Multiplying all by a number changes no order."""
    picker: str = "best"
    """Name of the picker, as in `pickers.PICKERS`."""
    min_quality: float = 0.0
    """Models of lower quality are excluded, 0 to 1; a request may ask for more."""
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    """Scorers of its own, by names that `weights` gives."""
    predicts: bool = False
    """Whether a predictor is asked first, whose chances stand for the quality."""
    mode: PlanMode = PlanMode.FIRST_OF
    """How its candidates are used, unless a request asks for an ensemble."""
    hedged: bool = False
    """Whether the second is asked as well where the first is slow to begin."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: Naming the weight, scorer or picker.
        """
        if self.picker not in PICKERS:
            raise ValueError(f"{self.name} has the picker {self.picker}; known: {_named(PICKERS)}")
        known = {**SCORERS, **self.scorers}
        unknown = sorted(set(self.weights) - set(known))
        if unknown:
            raise ValueError(f"{self.name} weighs {unknown[0]}; scorers are {_named(known)}")
        for name, weight in self.weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{self.name} gives {name} the weight {weight}; it must be 0 up")
        if self.weights and not any(self.weights.values()):
            raise ValueError(f"{self.name} has only weights of 0")

    @cached_property
    def composition(self) -> tuple[tuple[str, float, Scorer], ...]:
        """The scorers that count: name, weight and scorer."""
        known = {**SCORERS, **self.scorers}
        return tuple((name, weight, known[name]) for name, weight in self.weights.items() if weight)


BALANCED = Strategy("balanced", {"speed": 0.3, "quality": 0.4, "cost": 0.3, "compatibility": 1.0})
QUALITY_FIRST = Strategy(
    "quality-first", {"speed": 0.01, "quality": 1.0, "cost": 0.01, "compatibility": 1.0}
)
COST_OPTIMIZED = Strategy("cost-optimized", {"value": 1.0, "compatibility": 1.0}, min_quality=0.2)
SPEED_PRIORITY = Strategy(
    "speed-priority",
    {"speed": 1.0, "quality": 0.05, "cost": 0.05, "compatibility": 1.0},
    hedged=True,
)
LEAST_LOADED = Strategy("least-loaded", {"load": 1.0, "compatibility": 0.1})
ROUND_ROBIN = Strategy("round-robin", picker="round-robin")
RANDOM = Strategy("random", picker="weighted-random")
WEIGHTED = Strategy("weighted", {"weight": 1.0}, picker="weighted-random")
CASCADE = Strategy("cascade", {"cost": 1.0}, mode=PlanMode.CASCADE)

BUILT_IN = (
    BALANCED,
    QUALITY_FIRST,
    COST_OPTIMIZED,
    SPEED_PRIORITY,
    LEAST_LOADED,
    ROUND_ROBIN,
    RANDOM,
    WEIGHTED,
    CASCADE,
)


def learned(settings: LearnedSettings) -> Strategy:
    """Return the strategy `learned`: the cheapest model that is likely to answer well enough."""
    exploration = Exploration(settings.exploration, settings.enough_grades)
    scorer = Sufficient(settings.tolerance, exploration)
    return Strategy("learned", {"sufficient": 1.0}, scorers={"sufficient": scorer}, predicts=True)


def load_strategies(
    balanced: StrategyWeights | None = None,
    own: Mapping[str, StrategySettings] | None = None,
    *,
    learning: LearnedSettings | None = None,
) -> dict[str, Strategy]:
    """Return every known strategy by name; one that cannot be loaded is logged and left out.

    Args:
        balanced: Weights for `balanced`; None keeps the registered ones.
        own: Those of the configuration, which stand above all others.
        learning: Of `learned`; None takes the defaults.
    """
    built_in = (*BUILT_IN, learned(learning or LearnedSettings()))
    found = {strategy.name: strategy for strategy in built_in}
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
        found["balanced"] = replace(found["balanced"], weights=balanced.model_dump())
    for name, told in (own or {}).items():
        weights = {str(key): value for key, value in told.weights.items()}
        found[name] = Strategy(name, weights, told.picker, told.min_quality, hedged=told.hedged)
    return dict(sorted(found.items()))


def _named(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known))


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
