"""The choice itself: filter, score, pick. Pure: everything it looks at is passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.catalog import Model
from llmrouter.selector.evidence import Array
from llmrouter.selector.figures import Figures, Frame, estimate
from llmrouter.selector.filters import Filter, failed_filters
from llmrouter.selector.pickers import PICKERS, Draws
from llmrouter.selector.plan import Selection
from llmrouter.selector.refusals import no_candidate, nobody, too_long
from llmrouter.selector.replicas import replicas_in_order
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import CatalogView, Flags

__all__ = ["Choice", "Policy", "choose", "draw_of"]

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says of every choice."""

    fallbacks: int = 2
    """Fallbacks at most."""
    expected_output_tokens: int = 256
    """Answer length assumed when the request sets no limit."""
    affinity_bound: float = 1.5
    """How many times the mean load a conversation's own replica may have."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice as numbers; `telling.py` puts it into words."""

    frame: Frame
    strategy: Strategy
    order: Rows
    """Rows that may answer, the primary first."""
    scores: Array
    """Of the rows in `order`."""
    verdicts: Array
    """Scorers x rows in `order`."""
    picked: tuple[tuple[int, int], ...]
    """Rows of the plan's candidates, each with the place of its endpoint."""
    asked_for: Flags | None
    """Rows that the model asked for leads to; None when none was."""
    failed: tuple[tuple[Filter, Flags], ...]
    """Filters that some row failed."""
    crowded: Flags
    """Rows whose context may be too small, so that others went before."""


def draw_of(request: Selection) -> int:
    """Return the number that all of a request's draws are made from, 64 bits."""
    key = request.question_key or request.request_id.encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def choose(
    request: Selection, view: CatalogView, figures: Figures, strategy: Strategy, policy: Policy
) -> Choice:
    """Choose a primary and its fallbacks; the same inputs give the same choice.

    Args:
        request: The sizes and wishes.
        view: The models at this moment.
        figures: The live numbers at this moment.
        strategy: Gives weights, picker and threshold.
        policy: Bounds for all.

    Raises:
        RouterError: UNKNOWN_MODEL or MODEL_UNAVAILABLE for the model asked for,
            CONTEXT_TOO_LONG when the prompt can fit nowhere, NO_CANDIDATE when all are excluded;
            instead of these MODEL_UNAVAILABLE while a model good enough is loading.
    """
    wish = request.wishes.model
    found = view.catalog.resolve(wish, request.capabilities) if wish else view.catalog.models
    hope = any(_may_answer_soon(one, request, strategy) for one in (found if wish else view.absent))
    if not view.models:
        raise nobody(view.absent, hope=hope)
    asked_for = _asked_for(view, found) if wish else None
    frame = estimate(request, view, figures, policy.expected_output_tokens)
    failed = failed_filters(frame, strategy)
    suitable = ~view.none if asked_for is None else asked_for
    for _, fails in failed:
        suitable = suitable & ~fails
    fitting = _fitting(frame, suitable)
    if not fitting.any():
        if suitable.any() and not hope:
            raise too_long(frame, suitable)
        among = ~view.none if asked_for is None else asked_for
        raise no_candidate(frame, strategy, failed, among, hope=hope)
    order, scores, verdicts, picked = _ordered(frame, strategy, np.flatnonzero(fitting), policy)
    return Choice(
        frame=frame,
        strategy=strategy,
        order=order,
        scores=scores,
        verdicts=verdicts,
        picked=picked,
        asked_for=asked_for,
        failed=tuple(failed),
        crowded=suitable & ~fitting,
    )


def _ordered(
    frame: Frame, strategy: Strategy, rows: Rows, policy: Policy
) -> tuple[Rows, Array, Array, tuple[tuple[int, int], ...]]:
    """Return the rows in order, their scores, the verdicts behind them, and who is picked."""
    scores, verdicts = _score(frame, strategy, rows)
    draw = draw_of(frame.request)
    draws = Draws(draw, frame.view.salts[rows], frame.figures.turns[rows])
    order = PICKERS[strategy.picker](scores, draws)
    ordered = rows[order]
    picked = _picked(frame, ordered, draw, policy)
    return ordered, scores[order], verdicts[:, order], picked


def _may_answer_soon(model: Model, request: Selection, strategy: Strategy) -> bool:
    floor = max(request.wishes.min_quality, strategy.min_quality)
    return model.loading and model.quality >= floor


def _asked_for(view: CatalogView, found: Sequence[Model]) -> Flags:
    asked = view.none.copy()
    asked[[view.rows[model.key] for model in found if model.endpoints]] = True
    return asked


def _fitting(frame: Frame, suitable: Flags) -> Flags:
    """Return the suitable rows whose context is large enough.

    The estimate of the prompt is high on purpose. Where it alone leaves no model, those stay whose
    context the prompt may still fit; inference counts exactly.
    """
    context = frame.view.context
    fitting = suitable & (frame.prompt_tokens + max(1, frame.request.max_tokens) <= context)
    if fitting.any():
        return fitting
    return suitable & (frame.fewest_prompt_tokens < context)


def _score(frame: Frame, strategy: Strategy, rows: Rows) -> tuple[Array, Array]:
    """Return the scores of the rows and the verdicts behind them; without scorers all are 1."""
    parts = strategy.composition
    if not parts:
        return np.ones(len(rows)), np.empty((0, len(rows)))
    verdicts = np.array([scorer.values(frame, rows) for _, _, scorer in parts])
    return np.array([weight for _, weight, _ in parts]) @ verdicts, verdicts


def _picked(frame: Frame, order: Rows, draw: int, policy: Policy) -> tuple[tuple[int, int], ...]:
    """Return the plan's rows and endpoints: behind the primary a second replica of its own."""
    most = policy.fallbacks + 1
    primary = int(order[0])
    own = replicas_in_order(frame, primary, draw, policy.affinity_bound)[:2]
    picked = [(primary, place) for place in own]
    for row in order[1:most].tolist():
        if len(picked) >= most:
            break
        picked.append((row, replicas_in_order(frame, row, draw, policy.affinity_bound)[0]))
    return tuple(picked[:most])
