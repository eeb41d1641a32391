"""Ratings from their proto."""

from __future__ import annotations

from llmrouter.common.errors import invalid
from llmrouter.common.rating import Rating, grade_of_score
from llmrouter.v1 import rating_pb2 as pb

__all__ = ["decode_rating"]

_THUMBS = {pb.THUMB_UP: 1.0, pb.THUMB_DOWN: 0.0}


def decode_rating(request: pb.RateOutcomeRequest) -> Rating:
    """Return the rating.

    Raises:
        RouterError: INVALID_ARGUMENT for a missing verdict, or a field out of its bounds.
    """
    return Rating(request.plan_id, _grade(request), request.model)


def _grade(request: pb.RateOutcomeRequest) -> float:
    kind = request.WhichOneof("verdict")
    if kind == "thumb":
        if request.thumb not in _THUMBS:
            raise invalid("thumb", f"is {request.thumb}; it must be THUMB_UP or THUMB_DOWN")
        return _THUMBS[request.thumb]
    if kind == "score":
        score = request.score
        return grade_of_score(score.value, score.lowest, score.highest)
    if kind == "judged":
        return request.judged
    raise invalid("verdict", "is missing; give a thumb, a score or what a judge thinks")
