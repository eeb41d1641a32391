"""What a caller is told when no model may answer: who came nearest, and what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from llmrouter.common.errors import Reason, RouterError, context_too_long
from llmrouter.selector.catalog import LOADING_SECONDS, NOT_HELD, Model
from llmrouter.selector.figures import Frame
from llmrouter.selector.filters import Filter
from llmrouter.selector.leniency import nowhere, too_small
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import Flags

__all__ = ["nobody", "refusal"]

_MAX_TOLD = 5
_EMPTY = (
    "no inference service holds one; `llmrouter models pull smollm2-135m-instruct` fetches one, "
    "and `llmrouter models load smollm2-135m-instruct-int8` has a suite that runs take it"
)


def _too_long(frame: Frame, suitable: Flags) -> RouterError:
    """Return the error for a prompt that fits none of the suitable rows: both numbers."""
    rows = np.flatnonzero(suitable)
    row = int(rows[np.argmax(frame.view.largest[rows])])
    name, context = frame.view.models[row].name, int(frame.view.largest[row])
    return context_too_long(int(frame.fewest_tokens[row]), context, name, at_least=True)


def unheard() -> RouterError:
    """Return the error before any inference service has told what it holds."""
    return RouterError(
        Reason.MODEL_UNAVAILABLE,
        "no inference service has told yet what it holds; ask again in a moment, and if it stays "
        "so, see that selector.inference_addresses names one that runs",
        retry_after=LOADING_SECONDS,
    )


def nobody(absent: Sequence[Model], *, hope: bool) -> RouterError:
    """Return the error where no model is served at all; with `hope`, one soon will be."""
    told = [f"{one.name}: {one.trouble}" for one in absent if one.trouble != NOT_HELD]
    return _error(told or [_EMPTY], {}, hope=hope)


def refusal(
    frame: Frame,
    strategy: Strategy,
    failed: Sequence[tuple[Filter, Flags]],
    among: Flags,
    *,
    hope: bool,
) -> RouterError:
    """Return the error where every row is excluded.

    It is another one where nothing but its size speaks against the prompt, which fits nowhere.

    Args:
        frame: The request and what it needs on each row.
        strategy: That chose.
        failed: Filters with the rows that fail them; that of latency last, with those in question.
        among: Rows that were asked for.
        hope: Whether a model good enough is loading, so that asking again later can help.
    """
    view = frame.view
    suitable = reduce(lambda rows, one: rows & ~one[1], failed[:-1], among)
    if suitable.any() and not hope and nowhere(frame, suitable):
        return _too_long(frame, suitable)
    rows = np.flatnonzero(among)
    count = np.zeros(len(view.models), np.int64)
    for one, fails in failed:
        # What does another kind of work is nearest only where all do.
        count += fails * (len(failed) if one.name == "capabilities" else 1)
    # The fewest conditions failed, and of those alike the best quality.
    nearest = int(rows[np.lexsort((-view.quality[rows], count[rows]))[0]])
    lacks = _lacks(frame, strategy, failed, nearest)
    others = [
        f"{view.models[row].name}: {_lacks(frame, strategy, failed, row)[0]}"
        for row in rows.tolist()
        if row != nearest
    ]
    if not frame.request.wishes.model:
        others += [f"{one.name}: {one.trouble}" for one in view.absent]
    name = view.models[nearest].name
    facts = {"nearest": name, "lacks": "; ".join(lacks)}
    return _error([f"nearest is {name}, but {' and '.join(lacks)}", *others], facts, hope=hope)


def _lacks(
    frame: Frame, strategy: Strategy, failed: Sequence[tuple[Filter, Flags]], row: int
) -> list[str]:
    lacks = [one.why(frame, strategy, row) for one, fails in failed if fails[row]]
    return lacks or [too_small(frame, row)]


def _error(told: list[str], facts: dict[str, str], *, hope: bool) -> RouterError:
    more = f"; and {len(told) - _MAX_TOLD} more" if len(told) > _MAX_TOLD else ""
    return RouterError(
        Reason.MODEL_UNAVAILABLE if hope else Reason.NO_CANDIDATE,
        f"no model may answer: {'; '.join(told[:_MAX_TOLD])}{more}",
        metadata=facts,
        retry_after=LOADING_SECONDS if hope else None,
    )
