"""A choice in words: candidates with their scores, and for everyone else why not."""

from __future__ import annotations

from collections.abc import Iterator

from llmrouter.selector.filters import too_small
from llmrouter.selector.plan import Candidate, Component, Exclusion, Plan
from llmrouter.selector.selection import Choice

__all__ = ["tell"]


def tell(choice: Choice, *, brief: bool = False) -> Plan:
    """Return the plan.

    Args:
        choice: What was chosen.
        brief: Leaves components and exclusions out, which cost time for each model.
    """
    ranks = {row: rank for rank, row in enumerate(choice.order[: len(choice.picked)].tolist())}
    return Plan(
        candidates=tuple(
            _candidate(choice, row, place, ranks[row], brief=brief) for row, place in choice.picked
        ),
        exclusions=() if brief else tuple(_exclusions(choice)),
        strategy=choice.strategy.name,
        reason=_reason(choice),
    )


def _candidate(choice: Choice, row: int, place: int, rank: int, *, brief: bool) -> Candidate:
    frame = choice.frame
    model, version, address = frame.view.endpoints[place]
    components = () if brief else _components(choice, row, rank)
    return Candidate(
        model=model,
        version=version,
        address=address,
        score=float(choice.scores[rank]),
        components=components,
        estimated_cost=float(frame.cost[row]),
        estimated_prompt_tokens=min(2**32 - 1, int(frame.prompt_tokens[row])),
    )


def _components(choice: Choice, row: int, rank: int) -> tuple[Component, ...]:
    verdicts = choice.verdicts[:, rank].tolist()
    return tuple(
        Component(name, value, weight, scorer.why(choice.frame, row))
        for (name, weight, scorer), value in zip(choice.strategy.composition, verdicts, strict=True)
    )


def _exclusions(choice: Choice) -> Iterator[Exclusion]:
    """Yield everyone who is not a candidate, each once."""
    view = choice.frame.view
    asked = choice.asked_for
    told = {row for row, _ in choice.picked}
    if asked is not None:
        wish = choice.frame.request.wishes.model
        for row in (~asked).nonzero()[0].tolist():
            told.add(row)
            yield _excluded(choice, row, f"{wish} was asked for")
        names = {view.models[row].name for row in asked.nonzero()[0].tolist()}
        for model in view.absent:
            why = model.trouble if model.name in names else f"{wish} was asked for"
            yield Exclusion(model.name, why)
    else:
        yield from (Exclusion(model.name, model.trouble) for model in view.absent)
    for one, fails in choice.failed:
        for row in fails.nonzero()[0].tolist():
            if row not in told:
                told.add(row)
                yield _excluded(choice, row, one.why(choice.frame, choice.strategy, row))
    for row in choice.crowded.nonzero()[0].tolist():
        yield _excluded(choice, row, too_small(choice.frame, row))
    scores = choice.scores.tolist()
    for rank, row in enumerate(choice.order.tolist()):
        if row not in told:
            why = f"ranked {rank + 1} with score {scores[rank]:.3f}; the plan is full"
            yield _excluded(choice, row, why)


def _excluded(choice: Choice, row: int, reason: str) -> Exclusion:
    model = choice.frame.view.models[row]
    return Exclusion(model.name, reason, model.version)


def _reason(choice: Choice) -> str:
    view, order, scores = choice.frame.view, choice.order, choice.scores
    name = view.models[int(order[0])].name
    wish = choice.frame.request.wishes.model
    if wish and len(order) == 1:
        return f"{name} was asked for" + (f" as {wish}" if wish != name else "")
    strategy = choice.strategy
    if strategy.picker == "round-robin":
        return f"it is {name}'s turn among {len(order)} models"
    if strategy.picker == "weighted-random":
        share = float(scores[0] / scores.sum()) if scores.sum() > 0 else 1 / len(order)
        return f"{name} was drawn from {len(order)} models, for which its chance is {share:.0%}"
    score = float(scores[0])
    if len(order) == 1:
        return (
            f"{name} has the best score for {strategy.name}, {score:.4f}; no other model may answer"
        )
    other, second = view.models[int(order[1])].name, float(scores[1])
    if strategy.picker == "power-of-two" and second > score:
        return f"{name} is the better of two drawn for {strategy.name}, with score {score:.4f}"
    scored = f"{name} has the best score for {strategy.name}, {score:.4f}"
    return f"{scored} against {second:.4f} of {other}{_lead(choice)}"


def _lead(choice: Choice) -> str:
    first, second = choice.verdicts[:, 0], choice.verdicts[:, 1]
    parts = zip(choice.strategy.composition, (first - second).tolist(), strict=True)
    lead, name = max(
        ((weight * ahead, name) for (name, weight, _), ahead in parts), default=(0, "")
    )
    return f", ahead by {name}" if lead > 0 else ""
