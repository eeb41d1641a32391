"""How good an answer was, to its message, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

from llmrouter.v1 import rating_pb2
from llmrouter_client.arguments import check_text, refused
from llmrouter_client.events import Answer, Started

__all__ = ["Rated", "Verdict", "rated_from", "rating_request_from"]

Verdict: TypeAlias = bool | float | tuple[float, float, float]
"""True or False is a thumb, a number of 0 to 1 what a judge thinks, three numbers are a score with
the lowest and the highest of its scale."""


@dataclass(frozen=True, slots=True)
class Rated:
    """What became of a verdict."""

    model: str
    grade: float
    """0 (bad) to 1 (good)."""
    grades: int
    """Graded answers of that model that are remembered."""


def rating_request_from(
    answer: Answer | Started | str, verdict: Verdict, model: str | None
) -> rating_pb2.RateOutcomeRequest:
    """Return the request.

    Raises:
        LlmrouterError: INVALID_ARGUMENT for a verdict of no such kind.
    """
    if isinstance(answer, Answer | Started):
        plan_id, model = answer.plan_id, model or answer.model
    else:
        plan_id = answer
    check_text("plan_id", plan_id, "an Answer, a Started or the id of a plan")
    check_text("model", model or "")
    request = rating_pb2.RateOutcomeRequest(plan_id=plan_id, model=model or "")
    given: Any = verdict  # whatever a caller without types may give
    if isinstance(given, bool):
        request.thumb = rating_pb2.THUMB_UP if given else rating_pb2.THUMB_DOWN
    elif isinstance(given, Real):
        request.judged = float(given)
    elif _is_score(given):
        value, lowest, highest = map(float, given)
        request.score.CopyFrom(rating_pb2.Score(value=value, lowest=lowest, highest=highest))
    else:
        told = "True or False, a number of 0 to 1, or (value, lowest, highest)"
        raise refused("verdict", f"is {str(verdict)[:60]!r}; it must be {told}")
    return request


def rated_from(response: rating_pb2.RateOutcomeResponse) -> Rated:
    """Return what became of a verdict."""
    return Rated(response.model, response.grade, response.grades)


def _is_score(verdict: object) -> bool:
    return (
        isinstance(verdict, tuple)
        and len(verdict) == 3
        and all(isinstance(one, Real) and not isinstance(one, bool) for one in verdict)
    )
