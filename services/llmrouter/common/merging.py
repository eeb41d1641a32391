"""Deltas that travel together as one: what is new of a choice is its text, however it came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from llmrouter.common.generation import Delta

__all__ = ["joined", "merged"]

EventT = TypeVar("EventT")


def joined(deltas: Sequence[Delta]) -> Delta:
    """Return one delta for several of the same choice; at least one."""
    if len(deltas) == 1:
        return deltas[0]
    return Delta(
        deltas[0].choice,
        "".join(one.text for one in deltas),
        sum(one.tokens for one in deltas),
        tuple(told for one in deltas for told in one.logprobs),
        tuple(token for one in deltas for token in one.token_ids),
        tuple(piece for one in deltas for piece in one.tool_calls),
    )


def merged(events: Iterable[EventT]) -> Iterator[EventT | Delta]:
    """Give events in their order, neighbouring deltas of a choice as one."""
    for choice, group in groupby(
        events, lambda one: one.choice if isinstance(one, Delta) else None
    ):
        if choice is None:
            yield from group
        else:
            yield joined([one for one in group if isinstance(one, Delta)])
