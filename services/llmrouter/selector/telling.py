"""A choice in words: candidates with their scores, and for everyone else why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from llmrouter.selector.leniency import LATENCY, too_small
from llmrouter.selector.plan import Candidate, Component, Exclusion, Plan
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
    )


def _candidate(choice: Choice, row: int, place: int, *, brief: bool) -> Candidate:
    frame = choice.frame
    model, version, address = frame.view.endpoints[place]
    return Candidate(
        model=model,
        version=version,
        address=address,
        score=choice.scores.item(row),
        components=() if brief else _components(choice, row),
        estimated_cost=frame.cost.item(row),
        estimated_prompt_tokens=min(2**32 - 1, int(frame.prompt_tokens.item(row))),
    )


def _components(choice: Choice, row: int) -> tuple[Component, ...]:
    parts = zip(choice.strategy.composition, choice.verdicts, strict=True)
    return tuple(
        Component(name, values.item(row), weight, scorer.why(choice.frame, row))
        for (name, weight, scorer), values in parts
    )


def _exclusions(choice: Choice) -> Iterator[Exclusion]:
    """Yield everyone who is not a candidate, each once."""
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
            why = f"ranked {rank} with score {scores[row]:.3f}; the plan is full"
            model = view.models[row]
            yield Exclusion(model.name, why, model.version)


def _absent(choice: Choice) -> Iterator[Exclusion]:
    """Yield the models that no endpoint serves."""
    view, asked = choice.frame.view, choice.asked_for
    wish = choice.frame.request.wishes.model
    names = (
        None if asked is None else {view.models[row].name for row in asked.nonzero()[0].tolist()}
    )
    for model in view.absent:
        meant = names is None or model.name in names
        yield Exclusion(model.name, model.trouble if meant else f"{wish} was asked for")


def _reasons(choice: Choice) -> Iterator[tuple[int, str | Callable[[], str]]]:
    """Yield the rows that may not answer and why not; the first reason of a row counts."""
    frame, strategy = choice.frame, choice.strategy
    if choice.asked_for is not None:
        wish = frame.request.wishes.model
        for row in (~choice.asked_for).nonzero()[0].tolist():
            yield row, f"{wish} was asked for"
    for one, fails in choice.failed:
        for row in fails.nonzero()[0].tolist():
            yield row, partial(one.why, frame, strategy, row)
    for row in (choice.suitable & ~choice.roomy).nonzero()[0].tolist():
        yield row, partial(too_small, frame, row)
    for row in (choice.roomy & ~choice.timely).nonzero()[0].tolist():
        yield row, partial(LATENCY.why, frame, strategy, row)
    if choice.yielding is not None:
        for row in choice.yielding.nonzero()[0].tolist():
            yield row, "a rollout sends this session to another version"


def _reason(choice: Choice) -> str:
    view, order, strategy = choice.frame.view, choice.order, choice.strategy
    first = int(order[0])
    name = view.models[first].name
    wish = choice.frame.request.wishes.model
    if wish and len(order) == 1:
        return f"{name} was asked for" + (f" as {wish}" if wish != name else "")
    if strategy.picker == "round-robin":
        return f"it is {name}'s turn among {len(order)} models"
    score = choice.scores.item(first)
    if strategy.picker == "weighted-random":
        total = float(choice.scores[order].sum())
        share = score / total if total > 0 else 1 / len(order)
        return f"{name} was drawn from {len(order)} models, for which its chance is {share:.0%}"
    scored = f"{name} has the best score for {strategy.name}, {score:.4f}"
    if len(order) == 1:
        return f"{scored}; no other model may answer"
    second = int(order[1])
    against = choice.scores.item(second)
    if against > score:
        return f"{name} is the better of two drawn for {strategy.name}, with score {score:.4f}"
    lead = _lead(choice, first, second)
    return f"{scored} against {against:.4f} of {view.models[second].name}{lead}"


def _lead(choice: Choice, first: int, second: int) -> str:
    """Return what puts the first before the second most."""
    ahead, name = 0.0, ""
    for (one, weight, _), values in zip(choice.strategy.composition, choice.verdicts, strict=True):
        lead = weight * (values.item(first) - values.item(second))
        if lead > ahead:
            ahead, name = lead, one
    return f", ahead by {name}" if name else ""
