"""Conditions on what is only estimated.

Tokens are estimated high on purpose, so that no estimate excludes a model: whose context is
probably too small comes last, and only what no text of its size could fit is refused. Times are
estimated high as well: where that alone leaves no model, those stay that may still do.
"""

from __future__ import annotations

from llmrouter.selector.figures import Care, Frame
from llmrouter.selector.filters import Filter
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import Flags

__all__ = ["LATENCY", "at_least", "in_time", "nowhere", "too_small", "with_room"]


def with_room(frame: Frame, suitable: Flags) -> Flags:
    """Return the suitable rows on which some text of its size could fit; inference counts."""
    if frame.shut is None and frame.request.prompt_bytes <= frame.view.fitting_bytes:
        return suitable
    return suitable & (frame.fewest_tokens <= frame.context)


def nowhere(frame: Frame, suitable: Flags) -> bool:
    """Whether no text of its size could fit on any endpoint of the rows, available or not."""
    return not (suitable & (frame.fewest_tokens <= frame.view.largest)).any()


def in_time(frame: Frame, rows: Flags) -> Flags:
    """Return those of the rows that are soon enough for the request's ceilings.

    Rows that are away are: kept answers take no time.
    """
    wishes = frame.request.wishes
    if not wishes.max_latency and not wishes.max_time_to_first_token:
        return rows
    here = found = rows & ~frame.away
    for care in Care:
        found = here & ~_late(frame, care)
        if found.any():
            break
    return found | (rows & frame.away)


def too_small(frame: Frame, row: int) -> str:
    """Return what a context lacks that no text of its size could fit."""
    return f"context {frame.context[row]:.0f} is too small: {at_least(frame, row)}"


def at_least(frame: Frame, row: int) -> str:
    """Return how many tokens the prompt has at least."""
    return f"the prompt has at least {frame.fewest_tokens[row]:.0f} tokens"


def _late(frame: Frame, care: Care) -> Flags:
    wishes, (first, seconds) = frame.request.wishes, frame.times(care)
    late = frame.view.none
    if wishes.max_latency:
        late = late | (seconds > wishes.max_latency)
    if wishes.max_time_to_first_token:
        late = late | (first > wishes.max_time_to_first_token)
    return late


def _why(frame: Frame, _: Strategy, row: int) -> str:
    wishes, (first, seconds) = frame.request.wishes, frame.times(Care.CAREFUL)
    if wishes.max_latency and seconds[row] > wishes.max_latency:
        return (
            f"it may take {seconds[row]:.2f} s for {frame.output_tokens} tokens, "
            f"more than the ceiling of {wishes.max_latency:g} s"
        )
    ceiling = wishes.max_time_to_first_token
    return f"its first token may take {first[row]:.2f} s, more than the ceiling of {ceiling:g} s"


LATENCY = Filter("latency", lambda frame, strategy: None, _why)
"""Says why a row is not in time; which ones are, `in_time` says."""
