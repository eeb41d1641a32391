"""Who is planned with where several models are to answer one question. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from llmrouter.common.capabilities import EMBEDDING, LOGPROBS
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.money import dollars
from llmrouter.common.plan_mode import PlanMode
from llmrouter.selector.figures import Frame
from llmrouter.selector.plan import Selection
from llmrouter.selector.strategies import Strategy

__all__ = ["cascade_rows", "ensemble_rows", "mode_of"]


def mode_of(request: Selection, strategy: Strategy) -> PlanMode:
    """Return how a request's candidates are to be used; vectors come from one model."""
    if EMBEDDING in request.capabilities:
        return PlanMode.FIRST_OF
    return strategy.mode if request.wishes.ensemble is None else PlanMode.ENSEMBLE


def cascade_rows(frame: Frame, order: Sequence[int], most: int) -> list[int]:
    """Return the rows of a cascade: each dearer and better than the one before it.

    All but the last one must tell log probabilities, by which their answers are judged. Those that
    together are estimated above the caller's ceiling are left out, the cheapest first.

    Args:
        frame: What the request needs on each row.
        order: Rows that may answer, the preferred of equals first.
        most: Rows at most; at least 2.
    """
    view, ceiling = frame.view, frame.request.wishes.max_cost
    telling = view.capable.get(LOGPROBS, view.none)
    stages: list[int] = []
    for row in sorted(order, key=lambda one: (frame.cost[one], -view.quality[one])):
        if stages and view.quality[row] <= view.quality[stages[-1]]:
            continue
        if stages and not telling[stages[-1]]:
            stages.pop()
        stages.append(row)
    if len(stages) > most:
        stages = [*stages[: most - 1], stages[-1]]
    while ceiling and len(stages) > 1 and sum(frame.cost[row] for row in stages) > ceiling:
        stages.pop(0)
    return stages


def ensemble_rows(frame: Frame, order: Sequence[int]) -> list[int]:
    """Return the rows of an ensemble: as many of the first as the caller wishes.

    Raises:
        RouterError: NO_CANDIDATE where there are fewer, or together they cost too much.
    """
    wishes = frame.request.wishes
    wish, models = wishes.ensemble, frame.view.models
    if wish is None:
        raise ValueError("no ensemble is asked for")
    rows = list(order[: wish.models])
    if len(rows) < wish.models:
        able = ", ".join(sorted(models[row].name for row in rows))
        raise RouterError(
            Reason.NO_CANDIDATE,
            f"an ensemble of {wish.models} models was asked for; only {len(rows)} may answer: "
            f"{able}",
            metadata={"models": str(len(rows))},
        )
    cost = float(sum(frame.cost[row] for row in rows))
    if wishes.max_cost and cost > wishes.max_cost:
        raise RouterError(
            Reason.NO_CANDIDATE,
            f"the ensemble's estimated cost {dollars(cost)} is above the ceiling "
            f"{dollars(wishes.max_cost)}; ask fewer models, or raise it",
            metadata={"cost": f"{cost:.6g}"},
        )
    return rows
