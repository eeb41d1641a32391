"""Which models served, and where last: what nobody holds any more through nobody's will comes back.

Pure: what the services say of themselves and what placement has done goes in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmrouter.selector.placement import Key, Node

__all__ = ["Kept"]

_MOST = 16_384
"""Versions remembered at most; those that were not seen to serve for longest go first."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """A service that offered a version when it was heard of last."""

    returns: int
    """`Node.returns` then."""
    placed: bool
    """Whether placement loaded it there, so that the service itself offers it no more after a
    restart."""


class Kept:
    """Remembers who offered each version last, ready or loaded by requests.

    A version that nobody offers is lost where its last holders are silent, failed to load it, or
    came back without what placement had loaded there. It is meant to be gone where somebody
    unloaded it or took its folder away, or a service was started anew that is not to offer it.

    Args:
        seconds: How long nobody must have offered it: a service that is restarted is away as well.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._holders: OrderedDict[Key, Mapping[str, _Holder]] = OrderedDict()
        self._since: dict[Key, float] = {}
        """When it was seen first that nobody offers what somebody should."""

    def take(self, nodes: Sequence[Node], now: float) -> Mapping[Key, Sequence[str]]:
        """Take in what services say of themselves; return the lost versions with their holders."""
        heard = {node.address: node for node in nodes}
        offered: dict[Key, list[Node]] = {}
        for node in nodes:
            for one in node.holdings:
                if one.offered:
                    offered.setdefault(one.key, []).append(node)
        for key, here in offered.items():
            before = self._holders.pop(key, {})
            silent = {place: one for place, one in before.items() if place not in heard}
            told = {one.address: _Holder(one.returns, _placed(before, one.address)) for one in here}
            self._holders[key] = {**silent, **told}
        for key in [key for key in self._holders if key not in offered]:
            self._holders[key] = _wanted(key, self._holders[key], heard)
            if not self._holders[key]:
                del self._holders[key]
        while len(self._holders) > _MOST:
            self._holders.popitem(last=False)
        missing = [key for key in self._holders if key not in offered]
        self._since = {key: self._since.get(key, now) for key in missing}
        late = (key for key, since in self._since.items() if now - since >= self._seconds)
        return {key: sorted(self._holders[key]) for key in late}

    def loaded(self, node: Node, key: Key) -> None:
        """Take in that placement loaded a version on a node."""
        before = self._holders.get(key, {})
        self._holders[key] = {**before, node.address: _Holder(node.returns, placed=True)}

    def unloaded(self, address: str, key: Key) -> None:
        """Take in that placement unloaded a version: nobody else wanted it gone."""
        before = self._holders.get(key, {})
        self._holders[key] = {place: one for place, one in before.items() if place != address}


def _placed(before: Mapping[str, _Holder], address: str) -> bool:
    return address in before and before[address].placed


def _wanted(
    key: Key, holders: Mapping[str, _Holder], heard: Mapping[str, Node]
) -> dict[str, _Holder]:
    """Return the holders of a version that nobody offers through which it is wanted still."""
    left = {}
    for address, holder in holders.items():
        node = heard.get(address)
        there = None if node is None else node.holding(key)
        if node is None or node.coming or (there and (there.failed or not there.settled)):
            left[address] = holder
        elif node.returns == holder.returns:
            return {}  # somebody unloaded it
        elif holder.placed:
            left[address] = holder
    return left
