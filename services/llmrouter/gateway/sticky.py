"""The same deterministic question goes to the same model while the plan still names it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

from llmrouter.common.answer_key import question_key
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.plan import Candidate, PlannedRequest

__all__ = ["StickyChoice"]

_MOST = 16_384
"""Questions remembered; each takes some 200 bytes."""


class StickyChoice:
    """Remembers which model answered a deterministic question.

    Scores follow live figures, and models that score almost alike take turns: one question would
    get now this answer, now that one, and miss the cache each time. Least recently asked first to
    be forgotten.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._answered: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    def prefer(self, planned: PlannedRequest, context: RequestContext) -> PlannedRequest:
        """Return the plan with the model first that answered before, where the plan names it."""
        question = _question(planned, context)
        known = self._answered.get(question)
        if known is None:
            return planned
        self._answered.move_to_end(question)
        plan = planned.plan
        again = [one for one in plan.candidates if (one.model, one.version) == known]
        if not again or again[0] == plan.candidates[0]:
            return planned
        others = [one for one in plan.candidates if one not in again]
        reason = f"{again[0].model} answered the same question before; {plan.reason}"
        plan = replace(plan, candidates=(*again, *others), reason=reason)
        return replace(planned, plan=plan)

    def remember(
        self, planned: PlannedRequest, context: RequestContext, candidate: Candidate
    ) -> None:
        """Note that `candidate` answered."""
        self._answered[_question(planned, context)] = (candidate.model, candidate.version)
        if len(self._answered) > self._most:
            self._answered.popitem(last=False)


def _question(planned: PlannedRequest, context: RequestContext) -> bytes:
    """Return a fingerprint of all that was asked: who chooses, and how, is part of it."""
    key = question_key(planned.request, context.tenant)
    return hashlib.sha256(key + repr(planned.request.routing).encode()).digest()
