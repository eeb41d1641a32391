"""Plans that were issued and may be reported on, and the load that they stand for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from llmrouter.common.prompt_features import PromptFeatures
from llmrouter.selector.evidence import Array, Key
from llmrouter.selector.plan import Plan, Selection

__all__ = ["IssuedPlan", "IssuedPlans", "Outstanding", "issue"]


@dataclass(slots=True)
class IssuedPlan:
    """What must be known of a plan when its outcomes come."""

    tenant: str
    user: str
    endpoints: tuple[Key, ...]
    """Of its candidates, in order."""
    at: float
    """When it was issued."""
    shadows: tuple[Key, ...] = ()
    """Endpoints that answer as well, for nobody."""
    reported: set[Key] = field(default_factory=set)
    """Endpoints whose outcome is known."""
    answered: set[str] = field(default_factory=set)
    """Names of the models that have answered."""
    features: PromptFeatures | None = None
    """Those that the prompt was routed by; None where there were none."""


class IssuedPlans:
    """A bounded memory of plans; the oldest is forgotten first."""

    def __init__(self, seconds: float, most: int = 65_536) -> None:
        """Make an empty memory.

        Args:
            seconds: How long outcomes may be reported.
            most: Plans remembered at most.
        """
        self._seconds = seconds
        self._most = most
        self._plans: OrderedDict[str, IssuedPlan] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plans)

    def add(self, plan_id: str, issued: IssuedPlan) -> None:
        """Remember a plan, and forget those that are too many or too old."""
        self._plans[plan_id] = issued
        oldest = issued.at - self._seconds
        while self._plans:
            first = next(iter(self._plans.values()))
            if len(self._plans) <= self._most and first.at >= oldest:
                break
            self._plans.popitem(last=False)

    def get(self, plan_id: str, now: float) -> IssuedPlan | None:
        """Return a plan; None when it was never issued, or is too old or forgotten."""
        issued = self._plans.get(plan_id)
        return None if issued is None or issued.at < now - self._seconds else issued


class Outstanding:
    """Requests and tokens of fresh plans by endpoint, in the order of a catalog view.

    A plan counts until its outcome is known, and no longer than `fresh` seconds: by then its engine
    has reported it as running, or its answer came from the cache and there will be no outcome.
    """

    def __init__(self, fresh: float) -> None:
        self._fresh = fresh
        self._unsettled: OrderedDict[str, tuple[float, Key, int]] = OrderedDict()
        self._places: dict[Key, int] = {}
        self.requests: Array = np.zeros(0)
        self.tokens: Array = np.zeros(0)

    def arrange(self, endpoints: Iterable[Key]) -> None:
        """Follow a new view; an endpoint that has gone takes its plans along when it returns."""
        self._places = {key: place for place, key in enumerate(endpoints)}
        self.requests, self.tokens = np.zeros(len(self._places)), np.zeros(len(self._places))
        for _, key, tokens in self._unsettled.values():
            self._change(key, 1, tokens)

    def add(self, plan_id: str, key: Key, tokens: int, now: float) -> None:
        """Take in that an endpoint was named as the primary of a plan."""
        self._unsettled[plan_id] = (now, key, tokens)
        self._change(key, 1, tokens)
        self.expire(now)

    def settle(self, plan_id: str) -> None:
        """Take in that a plan's outcome is known."""
        known = self._unsettled.pop(plan_id, None)
        if known is not None:
            self._change(known[1], -1, -known[2])

    def expire(self, now: float) -> None:
        """Drop the plans that are no longer fresh."""
        while self._unsettled:
            plan_id, (at, _, _) = next(iter(self._unsettled.items()))
            if now - at < self._fresh:
                break
            self.settle(plan_id)

    def _change(self, key: Key, requests: int, tokens: int) -> None:
        place = self._places.get(key)
        if place is not None:
            self.requests[place] = max(0.0, self.requests[place] + requests)
            self.tokens[place] = max(0.0, self.tokens[place] + tokens)


def issue(request: Selection, plan: Plan, now: float) -> IssuedPlan:
    """Return what is remembered of a plan issued at `now`."""
    return IssuedPlan(
        tenant=request.tenant,
        user=request.user,
        endpoints=tuple(one.endpoint for one in plan.candidates),
        at=now,
        shadows=tuple(one.endpoint for one in plan.shadows),
        features=request.features,
    )
