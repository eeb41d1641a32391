"""Past choices: a record holds all that its choice was made from, so that it can be made again."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from llmrouter.selector.evidence import Measure
from llmrouter.selector.figures import Figures, Frame
from llmrouter.selector.made_from import (
    catalog_id,
    encode_candidate,
    encode_catalog,
    encode_figures,
    encode_request,
    encode_strategy,
)
from llmrouter.selector.plan import Candidate, Plan, Selection, draw_of
from llmrouter.selector.scorers import Sufficient
from llmrouter.selector.selection import Choice, Policy, choose
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.telling import tell
from llmrouter.selector.view import CatalogView

__all__ = ["Decision", "DecisionLog", "RecordWriter", "record_of"]

_FIXED_BYTES = 1024
"""What a record takes besides its arrays and its prompt's features."""


@dataclass(slots=True, kw_only=True)
class Decision:
    """One choice. Catalog and strategy are shared with other records."""

    request: Selection
    view: CatalogView
    figures: Figures
    strategy: Strategy
    policy: Policy
    policy_version: str
    at: float
    """Seconds since the epoch, for people."""
    shadows: tuple[Candidate, ...] = ()
    hedge_after: float | None = None
    chosen: tuple[tuple[str, str, str, float], ...] = ()
    """The plan as it was issued: model, version, address and score of each candidate."""
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    """What is known of its attempts so far."""
    grades: dict[str, float] = field(default_factory=dict)
    """How its answers were rated so far, 0 to 1 by model."""

    def again(self) -> Choice:
        """Make the choice again: the same, exactly."""
        return choose(self.request, self.view, self.figures, self.strategy, self.policy)

    def plan_again(self) -> Plan:
        """Return the plan of that choice, in full."""
        plan = tell(self.again())
        return replace(plan, shadows=self.shadows, hedge_after=self.hedge_after)

    @property
    def bytes(self) -> int:
        """Memory of this record alone."""
        features = self.request.features
        told = 0 if features is None else len(features.shape) + len(features.sketch)
        return _FIXED_BYTES + told + self.figures.bytes


class DecisionLog:
    """A bounded memory of choices; the oldest is forgotten first."""

    def __init__(self, most: int, max_bytes: int) -> None:
        """Make an empty log.

        Args:
            most: Choices remembered at most; 0 remembers none.
            max_bytes: Bytes of their records at most.
        """
        self._most, self._max_bytes = most, max_bytes
        self._kept: OrderedDict[str, tuple[Decision, int]] = OrderedDict()
        self._views: Counter[int] = Counter()
        self.bytes = 0
        """Memory of all records, and of the catalogs that they share."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, plan_id: str, decision: Decision) -> None:
        """Remember a choice, and forget what no longer fits."""
        if self._most == 0:
            return
        size = decision.bytes
        self._kept[plan_id] = decision, size
        self.bytes += size
        self._views[id(decision.view)] += 1
        if self._views[id(decision.view)] == 1:
            self.bytes += decision.view.bytes
        while len(self._kept) > self._most or (self.bytes > self._max_bytes and self._kept):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (oldest, size) = self._kept.popitem(last=False)
        self.bytes -= size
        self._views[id(oldest.view)] -= 1
        if not self._views[id(oldest.view)]:
            del self._views[id(oldest.view)]
            self.bytes -= oldest.view.bytes

    def get(self, plan_id: str) -> Decision | None:
        """Return a choice; None when it is forgotten."""
        kept = self._kept.get(plan_id)
        return None if kept is None else kept[0]

    def newest(self, limit: int = 0) -> Iterator[tuple[str, Decision]]:
        """Yield the newest choices, oldest first; a `limit` of 0 yields all."""
        return reversed(list(islice(self.backwards(), limit or None)))

    def backwards(self) -> Iterator[tuple[str, Decision]]:
        """Yield the choices, newest first; to be read before another is added."""
        return ((plan_id, decision) for plan_id, (decision, _) in reversed(self._kept.items()))


class RecordWriter:
    """Puts choices into lines of JSON that tell each catalog once."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[CatalogView, str]] = {}
        """By identity; held, so that no other view gets the same."""
        self._told: set[str] = set()

    def line(self, plan_id: str, decision: Decision) -> str:
        """Return a choice as one line: numbers and names, no text and no user."""
        record, catalog = self.parts(plan_id, decision)
        told = record if catalog is None else record | {"catalog": catalog}
        return json.dumps(told, allow_nan=False)

    def parts(
        self, plan_id: str, decision: Decision
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return a choice, and its catalog unless that was told before."""
        view, told = decision.view, None
        if id(view) not in self._seen:
            catalog = encode_catalog(view.catalog)
            name = catalog_id(catalog)
            self._seen[id(view)] = view, name
            if name not in self._told:
                self._told.add(name)
                told = catalog
        return record_of(plan_id, decision, self._seen[id(view)][1]), told


def record_of(plan_id: str, decision: Decision, catalog: str = "") -> dict[str, Any]:
    """Return a choice as plain data: numbers and names, no text and no user.

    Args:
        plan_id: The plan's.
        decision: The choice.
        catalog: What its catalog goes by.
    """
    choice = decision.again()
    plan = tell(choice)
    return {
        "plan_id": plan_id,
        "at": round(decision.at, 3),
        "tenant": decision.request.tenant,
        "policy_version": decision.policy_version,
        "strategy": plan.strategy,
        "mode": str(plan.mode),
        "reason": plan.reason,
        "request": _features(decision.request, choice.frame),
        "draw": draw_of(decision.request),
        "candidates": [_statistics(choice, row) for row in range(len(decision.view.models))],
        "order": _order(plan),
        "exclusions": [
            {"model": one.model, "version": one.version, "reason": one.reason}
            for one in plan.exclusions
        ],
        "chosen": [list(one) for one in decision.chosen],
        "shadows": [encode_candidate(one) for one in decision.shadows],
        "hedge_after": decision.hedge_after,
        "outcomes": list(decision.outcomes),
        "grades": dict(decision.grades),
        "made_from": {
            "catalog_id": catalog,
            "request": encode_request(decision.request),
            "figures": encode_figures(decision.figures),
            "strategy": encode_strategy(decision.strategy),
            "policy": asdict(decision.policy),
        },
        **_exploration(choice),
    }


def _features(request: Selection, frame: Frame) -> dict[str, Any]:
    wishes = request.wishes
    return {
        "prompt_bytes": request.prompt_bytes,
        "max_tokens": request.max_tokens,
        "n": request.n,
        "capabilities": sorted(request.capabilities),
        "expected_output_tokens": frame.output_tokens,
        "model": wishes.model,
        "min_quality": wishes.min_quality,
        "max_cost": wishes.max_cost,
        "max_latency": wishes.max_latency,
        "max_time_to_first_token": wishes.max_time_to_first_token,
        "tags": list(wishes.tags),
    }


def _exploration(choice: Choice) -> dict[str, Any]:
    """Return whether the primary was taken to learn about it, where the strategy may do that."""
    for _, _, scorer in choice.strategy.composition:
        if isinstance(scorer, Sufficient):
            picked = scorer.pick(choice.frame)
            return {"explored": picked.explored, "propensity": picked.propensity}
    return {}


def _order(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "model": one.model,
            "version": one.version,
            "address": one.address,
            "score": one.score,
            "estimated_cost": one.estimated_cost,
            "estimated_prompt_tokens": one.estimated_prompt_tokens,
            "verdicts": {part.name: part.value for part in one.components},
        }
        for one in plan.candidates
    ]


def _statistics(choice: Choice, row: int) -> dict[str, Any]:
    """Return what was believed of one model version."""
    frame, figures = choice.frame, choice.frame.figures
    model = frame.view.models[row]
    believed = figures.believed[:, row].tolist()
    told = {
        "model": model.name,
        "version": model.version,
        "quality": model.quality,
        "error_rate": believed[Measure.ERROR],
        "seconds_per_token": believed[Measure.PER_TOKEN],
        "bytes_per_token": float(figures.bytes_per_token[row]),
        "time_to_first_token": _finite(frame.first[row]),
        "seconds": _finite(frame.seconds[row]),
        "cost": float(frame.cost[row]),
        "pressure": _finite(frame.least_pressure[row]),
    }
    if figures.predicted is not None:
        told["predicted"] = float(figures.predicted[row])
    if figures.graded is not None:
        told["grades"] = int(figures.graded[row])
    return told


def _finite(value: float) -> float | None:
    """Return a number for JSON, which knows no infinity."""
    return float(value) if value < float("inf") else None
