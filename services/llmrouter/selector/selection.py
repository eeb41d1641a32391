"""The choice itself: filter, score, pick. Pure: everything it looks at is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmrouter.common.plan_mode import PlanMode
from llmrouter.selector.catalog import Model
from llmrouter.selector.evidence import Array
from llmrouter.selector.figures import Figures, Frame, estimate
from llmrouter.selector.filters import Filter, failed_filters
from llmrouter.selector.leniency import LATENCY, in_time, with_room
from llmrouter.selector.modes import cascade_rows, ensemble_rows, mode_of
from llmrouter.selector.pickers import PICKERS, Draws
from llmrouter.selector.plan import Selection
from llmrouter.selector.refusals import nobody, refusal
from llmrouter.selector.replicas import replicas_in_order
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import CatalogView, Flags

__all__ = ["Choice", "Policy", "choose"]

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


class Choice(NamedTuple):
    """A choice as numbers; `telling.py` puts it into words."""

    frame: Frame
    strategy: Strategy
    order: Rows
    """Rows that may answer, the primary first: those whose context probably holds the prompt, and
    then the others."""
    leading: int
    """How many of them are probably roomy enough; all, where none is."""
    scores: Array
    """n: of each row; those that may not answer have one without meaning."""
    verdicts: tuple[Array, ...]
    """By scorer, n each."""
    picked: tuple[tuple[int, int], ...]
    """Rows of the plan's candidates, each with the place of its endpoint."""
    among: Flags
    """Rows that are meant: by the model asked for, where one was."""
    failed: Sequence[tuple[Filter, Flags]]
    """Filters that some row failed."""
    suitable: Flags
    """Rows that pass the filters."""
    roomy: Flags
    """Those of them whose context is large enough."""
    timely: Flags
    """Those of them that are in time."""
    present: Flags
    """Those of them that are not away, unless all are."""
    yielding: Flags | None
    """Those of them that a rollout keeps from this request; None while there is none."""

    @property
    def mode(self) -> PlanMode:
        """How the candidates are used."""
        return mode_of(self.frame.request, self.strategy)


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
        RouterError: UNKNOWN_MODEL or MODEL_UNAVAILABLE for the model asked for, CONTEXT_TOO_LONG
            when no text of its size fits anywhere, NO_CANDIDATE when all are excluded or make no
            ensemble; instead of these MODEL_UNAVAILABLE while a model good enough is loading.
    """
    wish = request.wishes.model
    found = view.catalog.resolve(wish, request.capabilities) if wish else view.catalog.models
    hope = _hope(found if wish else view.loading, request, strategy)
    if not view.models:
        raise nobody(view.absent, hope=hope)
    among = _meant(view, figures, found, wish)
    frame = estimate(request, view, figures, policy.expected_output_tokens)
    failed = failed_filters(frame, strategy)
    suitable = reduce(lambda rows, one: rows & ~one[1], failed, among)
    roomy = with_room(frame, suitable)
    fitting = in_time(frame, roomy)
    if not np.count_nonzero(fitting):
        raise refusal(frame, strategy, [*failed, (LATENCY, roomy)], among, hope=hope)
    present = _present(frame, fitting)
    yielding = _yielding(frame, present)
    frame.fitting = present if yielding is None else present & ~yielding
    order, leading, scores, verdicts = _ordered(frame, strategy)
    return Choice(
        frame=frame,
        strategy=strategy,
        order=order,
        leading=leading,
        scores=scores,
        verdicts=verdicts,
        picked=_picked(frame, order, leading, yielding, policy, strategy),
        among=among,
        failed=failed,
        suitable=suitable,
        roomy=roomy,
        timely=fitting,
        present=present,
        yielding=yielding,
    )


def _present(frame: Frame, fitting: Flags) -> Flags:
    """Return the rows without those that are away, unless there are no others."""
    if not frame.any_away:
        return fitting
    present = fitting & ~frame.away
    return present if present.any() else fitting


def _yielding(frame: Frame, fitting: Flags) -> Flags | None:
    """Return the rows that a rollout keeps from this request, where the other version fits."""
    preferred = frame.figures.preferred
    if preferred is None:
        return None
    return fitting & (preferred >= 0) & fitting[preferred]


def _ordered(frame: Frame, strategy: Strategy) -> tuple[Rows, int, Array, tuple[Array, ...]]:
    """Return the fitting rows in order, how many lead, all rows' scores and their verdicts."""
    parts = strategy.composition
    verdicts = tuple(scorer.values(frame) for _, _, scorer in parts)
    weighed = [weight * values for (_, weight, _), values in zip(parts, verdicts, strict=True)]
    scores = reduce(np.add, weighed) if weighed else np.ones(len(frame.fitting))
    rows = frame.fitting.nonzero()[0]
    fits = frame.needed <= frame.context
    roomy = fits if np.count_nonzero(fits) == len(fits) else fits[rows]
    if np.count_nonzero(roomy) in {0, len(roomy)}:
        return _picked_order(frame, strategy, scores, rows), len(rows), scores, verdicts
    groups = [_picked_order(frame, strategy, scores, rows[some]) for some in (roomy, ~roomy)]
    return np.concatenate(groups), len(groups[0]), scores, verdicts


def _picked_order(frame: Frame, strategy: Strategy, scores: Array, rows: Rows) -> Rows:
    draws = Draws(frame.request, frame.view.salts, rows, frame.figures.turns)
    return rows[PICKERS[strategy.picker](scores[rows], draws)]


def _hope(models: Sequence[Model], request: Selection, strategy: Strategy) -> bool:
    """Whether one of the models may answer soon, as far as is known of it."""
    floor = max(request.wishes.min_quality, strategy.min_quality)
    return any(
        one.loading and one.quality >= floor and one.may_do(request.capabilities) for one in models
    )


def _meant(view: CatalogView, figures: Figures, found: Sequence[Model], wish: str) -> Flags:
    """Return the rows that a request may go to: those it names, else all that need no name.

    A version that a rollout sends it to need not be named.
    """
    among = view.meant
    if wish:
        among = view.none.copy()
        among[[view.rows[model.key] for model in found if model.endpoints]] = True
    preferred = figures.preferred
    if preferred is None or "@" in wish:
        return among
    chosen = preferred[among & (preferred >= 0)]
    if len(chosen):
        among = among.copy()
        among[chosen] = True
    return among


def _picked(
    frame: Frame,
    order: Rows,
    leading: int,
    yielding: Flags | None,
    policy: Policy,
    strategy: Strategy,
) -> tuple[tuple[int, int], ...]:
    """Return the plan's rows and endpoints.

    Behind the primary stands, before other models, the version that yields to it in a rollout or
    else a second replica of its own, unless only others probably hold the prompt. In a cascade and
    an ensemble, every model stands once. Endpoints that are probed stand behind nobody: when the
    primary fails, all of its requests would be there at once.
    """
    most = policy.fallbacks + 1

    def replicas(row: int) -> list[int]:
        return replicas_in_order(frame, row, policy.affinity_bound)

    mode = mode_of(frame.request, strategy)
    if mode is PlanMode.ENSEMBLE:
        together = ensemble_rows(frame, order[:leading].tolist())
        return tuple((row, replicas(row)[0]) for row in together)
    if mode is PlanMode.CASCADE:
        stages = cascade_rows(frame, _asked_behind(frame, order[:leading]), max(2, most))
        places = [(row, replicas(row)) for row in stages]
        return tuple((row, (frame.unprobed(own) or own)[0]) for row, own in places)
    primary = int(order[0])
    own = replicas(primary)
    picked = [(primary, own[0])]
    others = order[1 : most if frame.figures.probing is None else None].tolist()
    second = frame.unprobed(own[1:])
    old = _yielding_to(frame, primary, yielding)
    if old is not None:
        others.insert(0, old)
    elif second and (leading == 1 or _alike(frame, primary, [own[0], *second])):
        picked.append((primary, second[0]))
    for row in others:
        if len(picked) >= most:
            break
        picked += [(row, place) for place in frame.unprobed(replicas(row))[:1]]
    return tuple(picked[:most])


def _asked_behind(frame: Frame, rows: Rows) -> list[int]:
    """Return the rows with an endpoint that is not being probed; all, where none has one."""
    probing = frame.figures.probing
    if probing is None:
        found: list[int] = rows.tolist()
        return found
    probed = frame.view.every(probing)[rows]
    unprobed: list[int] = (rows if probed.all() else rows[~probed]).tolist()
    return unprobed


def _alike(frame: Frame, row: int, places: Sequence[int]) -> bool:
    """Whether the second place probably holds the prompt if the first does."""
    roomy = frame.view.context[places[:2]] >= frame.needed[row]
    return bool(roomy[0] == roomy[1])


def _yielding_to(frame: Frame, primary: int, yielding: Flags | None) -> int | None:
    preferred = frame.figures.preferred
    if preferred is None or yielding is None:
        return None
    found = np.flatnonzero(yielding & (preferred == primary))
    return int(found[0]) if len(found) else None
