"""Where loads of models failed, and until when they are not tried there again.

Pure: what the services say of themselves and how loads ended goes in; moments are passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from llmrouter.selector.placement import Key, Node, Place

__all__ = ["Setbacks"]

_MOST = 16_384
"""Failures remembered at most; the oldest go first."""


class Setbacks:
    """Remembers loads that failed, those of others as well, where a service tells of them.

    Args:
        seconds: How long each is held against its place. One that a service goes on telling of is
            held against it once: then it may be tried again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: OrderedDict[Place, float] = OrderedDict()

    def failed(self, address: str, key: Key, now: float) -> None:
        """Take in that a version could not be loaded at an address."""
        self._until[address, key] = now + self._seconds
        self._until.move_to_end((address, key))
        while len(self._until) > _MOST:
            self._until.popitem(last=False)

    def take(self, nodes: Sequence[Node], now: float) -> tuple[Place, ...]:
        """Take in what services say of themselves; return the failures that are new.

        What is loaded by now, or lies there no more, is forgotten.
        """
        heard = {node.address: node for node in nodes}
        for address, key in tuple(self._until):
            if (node := heard.get(address)) is None:
                continue
            there = node.holding(key)
            if there is None or there.ready:
                del self._until[address, key]
        told = ((node.address, one.key) for node in nodes for one in node.holdings if one.failed)
        fresh = tuple(place for place in dict.fromkeys(told) if place not in self._until)
        for address, key in fresh:
            self.failed(address, key, now)
        return fresh

    def avoided(self, now: float) -> frozenset[Place]:
        """Return where versions are not to be loaded now."""
        return frozenset(place for place, until in self._until.items() if now < until)
