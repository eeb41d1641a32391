"""Conditions on what is only estimated: careful while that leaves a model, else lenient.

Tokens and times are estimated high on purpose. Where that alone leaves no model, those stay that
may still do; only what can hardly be is refused.
"""

from __future__ import annotations

from llmrouter.selector.figures import Care, Frame
from llmrouter.selector.filters import Filter
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.view import Flags

__all__ = ["LATENCY", "in_time", "too_small", "with_room"]


def with_room(frame: Frame, suitable: Flags) -> Flags:
    """Return the suitable rows whose context is large enough; inference counts exactly."""
    context = frame.view.context
    roomy = suitable & (frame.prompt_tokens + max(1, frame.request.max_tokens) <= context)
    if roomy.any():
        return roomy
    return suitable & (frame.fewest_prompt_tokens() < context)


def in_time(frame: Frame, rows: Flags) -> Flags:
    """Return those of the rows that are soon enough for the request's ceilings."""
    wishes = frame.request.wishes
    if not wishes.max_latency and not wishes.max_time_to_first_token:
        return rows
    found = rows
    for care in Care:
        found = rows & ~_late(frame, care)
        if found.any():
            break
    return found


def too_small(frame: Frame, row: int) -> str:
    """Return what a context lacks that is too small by the upper estimate."""
    generated = max(1, frame.request.max_tokens)
    return (
        f"context {frame.view.context[row]:.0f} is too small for about "
        f"{frame.prompt_tokens[row]:.0f} prompt tokens and {generated} to generate"
    )


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
