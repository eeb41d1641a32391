"""Which replica of a model answers: the one that knows the conversation, unless it is too busy.

Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018) on highest random
weights (Thaler and Ravishankar, 1998): a conversation prefers the replicas in an order of its own,
which others coming and going do not change, and takes the first whose load is within the bound.
Replicas whose context probably holds the prompt come before others.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from llmrouter.selector.figures import Frame
from llmrouter.selector.pickers import uniforms
from llmrouter.selector.plan import numbers_of

__all__ = ["replicas_in_order"]

_WORTH_MOVING = 0.25
"""A bound below this many requests per slot would move conversations between idle replicas."""


def replicas_in_order(frame: Frame, row: int, bound: float) -> list[int]:
    """Return the places of a row's available endpoints that may hold the prompt, the best first.

    Args:
        frame: The request and the live numbers.
        row: Of the catalog; at least one of its available endpoints may hold the prompt.
        bound: How many times the mean load a conversation's own replica may have.
    """
    within = frame.view.replicas(row)
    if len(within) == 1:
        return [within.start]
    pressure, context = (
        values[within.start : within.stop] for values in (frame.pressure, frame.view.context)
    )
    places = np.flatnonzero(np.isfinite(pressure) & (frame.fewest_tokens[row] <= context))
    if len(places) == 1:
        return [within.start + int(places[0])]
    load, narrow = pressure[places], context[places] < frame.needed[row]
    salts = np.array(
        [_salt(frame.view.endpoints[within.start + one][2]) for one in places.tolist()]
    )
    conversation = numbers_of(frame.request).conversation
    if conversation is None:
        order = np.lexsort((uniforms(frame.draw, salts), load, narrow))
        return [within.start + int(one) for one in places[order]]
    preference = uniforms(conversation, salts)
    most = max(bound * float(load.mean()), _WORTH_MOVING)
    # Those within the bound come first, each group in the conversation's own order.
    order = np.lexsort((preference, load > most, narrow))
    return [within.start + int(one) for one in places[order]]


@lru_cache(65_536)
def _salt(address: str) -> np.uint64:
    digest = hashlib.blake2b(address.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))
