"""The same deterministic question goes to the same model while the plan still names it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import fields, replace
from operator import attrgetter

from llmrouter.common.generation import CacheMode, RoutingWishes
from llmrouter.gateway.plan import Candidate, PlannedRequest

__all__ = ["StickyChoice", "asked_key"]

_MOST = 16_384
"""Questions remembered; each takes some 300 bytes."""
_NAMES = tuple(sorted(one.name for one in fields(RoutingWishes)))
_wishes = attrgetter(*_NAMES)
_NONE = _wishes(RoutingWishes())
_ALIKE = 1.05
"""How many times the score of who answered before another may have without taking over."""


class StickyChoice:
    """Remembers which model answered a deterministic question.

    Scores follow live figures, and models that score almost alike take turns: one question would
    get now this answer, now that one, and miss the cache each time. A model that is clearly better,
    as one that was loaded since, takes the question over, and a caller who wants it answered anew
    gets the best. Least recently asked first to be forgotten.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._answered: OrderedDict[bytes, Candidate] = OrderedDict()

    def prefer(self, planned: PlannedRequest) -> PlannedRequest:
        """Return the plan with the model first that answered before, where the plan names it."""
        known = self.recall(planned.question, planned.request.routing)
        if known is None or planned.request.cache.mode is CacheMode.REFRESH:
            return planned
        plan, answered = planned.plan, (known.model, known.version)
        again = [one for one in plan.candidates if (one.model, one.version) == answered]
        first = plan.candidates[0]
        if not again or again[0] == first or first.score > _ALIKE * again[0].score:
            return planned
        others = [one for one in plan.candidates if one not in again]
        reason = f"{again[0].model} answered the same question before; {plan.reason}"
        plan = replace(plan, candidates=(*again, *others), reason=reason)
        return replace(planned, plan=plan)

    def recall(self, question: bytes, routing: RoutingWishes) -> Candidate | None:
        """Return who answered a question that was asked in the same way; None when nobody did."""
        asked = asked_key(question, routing)
        known = self._answered.get(asked)
        if known is not None:
            self._answered.move_to_end(asked)
        return known

    def remember(self, planned: PlannedRequest, candidate: Candidate) -> None:
        """Note that `candidate` answered."""
        self._answered[asked_key(planned.question, planned.request.routing)] = candidate
        if len(self._answered) > self._most:
            self._answered.popitem(last=False)


def asked_key(question: bytes, routing: RoutingWishes) -> bytes:
    """Return the 32 bytes that stand for all that was asked: who chooses, and how, is part of it.

    Wishes that are not made are no part of it, so that questions are known when there are others.

    Args:
        question: What `question_key` gave.
        routing: How its model is to be chosen.
    """
    wishes = _wishes(routing)
    pairs = zip(_NAMES, wishes, _NONE, strict=True)
    made = [] if wishes == _NONE else [(name, one) for name, one, none in pairs if one != none]
    return hashlib.sha256(question + repr(made).encode()).digest()
