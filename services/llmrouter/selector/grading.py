"""Which answer a rating is about. Pure: what is known of the plan is passed in."""

from __future__ import annotations

from llmrouter.common.errors import invalid
from llmrouter.common.prompt_features import PromptFeatures
from llmrouter.common.rating import Rating
from llmrouter.selector.issued import IssuedPlan

__all__ = ["rated"]


def rated(issued: IssuedPlan, rating: Rating) -> tuple[str, PromptFeatures]:
    """Return who gave the answer, and the features that its prompt was routed by.

    An answer from the cache is reported by nobody: its model must be named.

    Raises:
        RouterError: INVALID_ARGUMENT naming the field, and what it may be.
    """
    if issued.features is None:
        told = "is of a request of which no features are known; nothing can be learned from it"
        raise invalid("plan_id", told)
    planned = sorted({key[0] for key in issued.endpoints})
    if rating.model:
        if rating.model not in planned:
            told = f"is {rating.model!r}; of this plan are {', '.join(planned)}"
            raise invalid("model", told)
        return rating.model, issued.features
    answered = sorted(issued.answered)
    if len(answered) != 1:
        several = (
            f"{len(answered)} answered: {', '.join(answered)}" if answered else "none is known"
        )
        raise invalid("model", f"is empty, and {several}; name the one that `Started` told")
    return answered[0], issued.features
