"""A choice in words: candidates with their scores, and for everyone else why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from llmrouter.common.plan_mode import PlanMode
from llmrouter.selector.filters import OPEN, shut_why
from llmrouter.selector.leniency import LATENCY, too_small
from llmrouter.selector.plan import Candidate, Component, Exclusion, Plan
from llmrouter.selector.scorers import Sufficient
from llmrouter.selector.selection import Choice

__all__ = ["tell"]


def tell(choice: Choice, *, brief: bool = False) -> Plan:
    """Return the plan.

    Args:
        choice: What was chosen.
        brief: Leaves components and exclusions out, which cost time for each model.
    """
    return Plan(
        candidates=tuple(
            _candidate(choice, row, place, brief=brief) for row, place in choice.picked
        ),
        exclusions=() if brief else tuple(_exclusions(choice)),
        strategy=choice.strategy.name,
        reason=_reason(choice),
        mode=choice.mode,
    )


def _candidate(choice: Choice, row: int, place: int, *, brief: bool) -> Candidate:
    frame = choice.frame
    model, version, address = frame.view.endpoints[place]
    context = frame.view.context.item(place)
    return Candidate(
        model=model,
        version=version,
        address=address,
        score=choice.scores.item(row),
        components=() if brief else _components(choice, row),
        estimated_cost=frame.cost.item(row),
        estimated_prompt_tokens=min(2**32 - 1, int(frame.prompt_tokens.item(row))),
        context=int(context),
        prices=frame.view.models[row].prices,
        probably_fits=frame.needed.item(row) <= context,
        away=_trouble(choice, row) if frame.any_away and frame.away[row] else "",
    )


def _components(choice: Choice, row: int) -> tuple[Component, ...]:
    parts = zip(choice.strategy.composition, choice.verdicts, strict=True)
    return tuple(
        Component(name, values.item(row), weight, scorer.why(choice.frame, row))
        for (name, weight, scorer), values in parts
    )


def _exclusions(choice: Choice) -> Iterator[Exclusion]:
    """Yield every model meant who is not a candidate, each once."""
    view = choice.frame.view
    yield from _absent(choice)
    told = {row for row, _ in choice.picked}
    for row, why in _reasons(choice):
        if row not in told:
            told.add(row)
            model = view.models[row]
            yield Exclusion(model.name, why() if callable(why) else why, model.version)
    scores = choice.scores.tolist()
    for rank, row in enumerate(choice.order.tolist(), 1):
        if row not in told:
            why = _left_over(choice, row, rank, scores[row])
            model = view.models[row]
            yield Exclusion(model.name, why, model.version)


def _trouble(choice: Choice, row: int) -> str:
    """Return why a row that is away cannot generate now, and where to look; one phrase."""
    why = _why_away(choice, row)
    return f"{why}; `llmrouter breakers list` says since when and why" if OPEN in why else why


def _why_away(choice: Choice, row: int) -> str:
    model = choice.frame.view.models[row]
    return model.trouble if model.away else shut_why(choice.frame, row)


def _left_over(choice: Choice, row: int, rank: int, score: float) -> str:
    frame = choice.frame
    probing = frame.figures.probing is not None
    if probing and not frame.unprobed(frame.view.replicas(row)):
        return "it is probed by requests that it is first for, and stands in for nobody meanwhile"
    if choice.mode is PlanMode.CASCADE:
        return (
            "it would add nothing: one that is asked is as good and no dearer, or the plan is full"
        )
    return f"ranked {rank} with score {score:.3f}; the plan is full"


def _absent(choice: Choice) -> Iterator[Exclusion]:
    """Yield the models that no endpoint serves."""
    view, wish = choice.frame.view, choice.frame.request.wishes.model
    names = {view.models[row].name for row in choice.among.nonzero()[0].tolist()}
    for model in view.absent:
        meant = not wish or model.name in names
        yield Exclusion(model.name, model.trouble if meant else f"{wish} was asked for")


def _reasons(choice: Choice) -> Iterator[tuple[int, str | Callable[[], str]]]:
    """Yield the rows that may not answer and why not; the first reason of a row counts."""
    frame, strategy = choice.frame, choice.strategy
    wish = frame.request.wishes.model
    for row in (frame.view.meant & ~choice.among).nonzero()[0].tolist():
        yield row, f"{wish} was asked for"
    for one, fails in choice.failed:
        for row in (fails & choice.among).nonzero()[0].tolist():
            yield row, partial(one.why, frame, strategy, row)
    for row in (choice.suitable & ~choice.roomy).nonzero()[0].tolist():
        yield row, partial(too_small, frame, row)
    for row in (choice.roomy & ~choice.timely).nonzero()[0].tolist():
        yield row, partial(LATENCY.why, frame, strategy, row)
    for row in (choice.timely & ~choice.present).nonzero()[0].tolist():
        yield row, _why_away(choice, row)
    if choice.yielding is not None:
        for row in choice.yielding.nonzero()[0].tolist():
            yield row, "a rollout sends this session to another version"


def _reason(choice: Choice) -> str:
    view, order = choice.frame.view, choice.order
    row = int(order[0])
    first = view.models[row]
    if choice.frame.away[row]:
        why = _trouble(choice, row)
        return f"{first.name} cannot serve now: {why}; only kept answers can be given"
    if choice.mode is not PlanMode.FIRST_OF:
        return _together(choice)
    return _alone(choice, first.name)


def _alone(choice: Choice, name: str) -> str:
    """Return why a model comes first where the others only stand in for it."""
    order = choice.order
    wish = choice.frame.request.wishes.model
    if wish and len(order) == 1:
        return f"{name} was asked for" + (f" as {wish}" if wish != name else "")
    if choice.strategy.picker == "round-robin":
        return f"it is {name}'s turn among {choice.leading} models"
    if choice.strategy.picker == "weighted-random":
        return f"{name} was drawn from {_chance(choice)}"
    for _, _, scorer in choice.strategy.composition:
        if isinstance(scorer, Sufficient):
            return scorer.reason(choice.frame, int(order[0]))
    return _compared(choice, name)


def _together(choice: Choice) -> str:
    """Return what the models of a cascade or an ensemble do for each other."""
    names = [choice.frame.view.models[row].name for row, _ in choice.picked]
    if choice.mode is PlanMode.ENSEMBLE:
        return f"{', '.join(names)} answer side by side"
    if len(names) == 1:
        return (
            f"{names[0]} is asked alone: no other that may answer is cheaper, or dearer and better"
        )
    return (
        f"{names[0]} is asked first, as the cheapest; unless it is sure, {' then '.join(names[1:])}"
    )


def _chance(choice: Choice) -> str:
    leading, score = choice.leading, choice.scores.item(int(choice.order[0]))
    total = float(choice.scores[choice.order[:leading]].sum())
    share = score / total if total > 0 else 1 / leading
    return f"{leading} models, for which its chance is {share:.0%}"


def _compared(choice: Choice, name: str) -> str:
    order, strategy = choice.order, choice.strategy
    score = choice.scores.item(int(order[0]))
    scored = f"{name} has the best score for {strategy.name}, {score:.4f}"
    if len(order) == 1:
        return f"{scored}; no other model may answer"
    if choice.leading == 1:
        return f"{scored}, of those whose context probably holds the prompt"
    first, second = int(order[0]), int(order[1])
    against = choice.scores.item(second)
    if against > score:
        return f"{name} is the better of two drawn for {strategy.name}, with score {score:.4f}"
    lead = _lead(choice, first, second)
    other = choice.frame.view.models[second].name
    return f"{scored} against {against:.4f} of {other}{lead}"


def _lead(choice: Choice, first: int, second: int) -> str:
    """Return what puts the first before the second most."""
    ahead, name = 0.0, ""
    for (one, weight, _), values in zip(choice.strategy.composition, choice.verdicts, strict=True):
        lead = weight * (values.item(first) - values.item(second))
        if lead > ahead:
            ahead, name = lead, one
    return f", ahead by {name}" if name else ""
