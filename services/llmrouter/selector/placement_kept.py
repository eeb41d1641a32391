"""Which models served, and where last: what nobody holds any more through nobody's will comes back.

Pure: what the services say of themselves and what placement has done goes in, here or in another
selector that may have placed before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

from llmrouter.selector.placement import Key, Node, Place

__all__ = ["Kept"]

_MOST = 16_384
"""Versions remembered at most, and places where placement loaded one; those that were not seen to
serve for longest go first."""


class Kept:
    """Remembers who offered each version last, ready or loaded by requests.

    A version that nobody offers is lost where its last holders are silent, failed to load it, or
    came back without what placement had loaded there. It is meant to be gone where somebody
    unloaded it or took its folder away, or a service was started anew that is not to offer it.

    Args:
        seconds: How long nobody must have offered it: a service that is restarted is away as well.
        changed: Told where placement loaded a version from now on (True), or no more (False).
    """

    def __init__(
        self, seconds: float, changed: Callable[[Place, bool], None] = lambda place, placed: None
    ) -> None:
        self._seconds, self._changed = seconds, changed
        self._holders: OrderedDict[Key, Mapping[str, int]] = OrderedDict()
        """By address `Node.returns`, as it was when the version was seen to be offered there."""
        self._placed: OrderedDict[Place, None] = OrderedDict()
        """Where placement loaded what the service itself offers no more after a restart."""
        self._since: dict[Key, float] = {}
        """When it was seen first that nobody offers what somebody should."""

    def take(self, nodes: Sequence[Node], now: float) -> Mapping[Key, Sequence[str]]:
        """Take in what services say of themselves; return the lost versions with their holders."""
        heard = {node.address: node for node in nodes}
        offered: dict[Key, dict[str, int]] = {}
        for node in nodes:
            for one in node.holdings:
                if one.offered:
                    offered.setdefault(one.key, {})[node.address] = node.returns
        for key, here in offered.items():
            before = self._holders.get(key, {})
            silent = {place: returns for place, returns in before.items() if place not in heard}
            self._hold(key, {**silent, **here})
            self._holders.move_to_end(key)
        for key in [key for key in self._holders if key not in offered]:
            self._hold(key, _wanted(key, self._holders[key], heard, self._placed))
        while len(self._holders) > _MOST:
            self._holders.popitem(last=False)
        missing = [key for key in self._holders if key not in offered]
        self._since = {key: self._since.get(key, now) for key in missing}
        late = (key for key, since in self._since.items() if now - since >= self._seconds)
        return {key: sorted(self._holders[key]) for key in late}

    def loaded(self, node: Node, key: Key) -> None:
        """Take in that placement loaded a version on a node."""
        self._holders[key] = {**self._holders.get(key, {}), node.address: node.returns}
        self.told((node.address, key), placed=True)
        self._changed((node.address, key), True)

    def unloaded(self, address: str, key: Key) -> None:
        """Take in that placement unloaded a version: nobody else wanted it gone."""
        before = self._holders.get(key, {})
        self._hold(key, {place: returns for place, returns in before.items() if place != address})
        self._forget((address, key))

    def told(self, place: Place, *, placed: bool) -> None:
        """Take in where placement loaded a version, or did no more, by another selector's word.

        Who holds it now is seen, and not told.
        """
        self._placed.pop(place, None)
        if placed:
            self._placed[place] = None
        while len(self._placed) > _MOST:
            self._forget(next(iter(self._placed)))

    def _hold(self, key: Key, holders: Mapping[str, int]) -> None:
        """Take in who holds a version from now on; of no others placement is to bring it back."""
        for address in self._holders.get(key, {}).keys() - holders.keys():
            self._forget((address, key))
        if holders:
            self._holders[key] = holders
        else:
            self._holders.pop(key, None)

    def _forget(self, place: Place) -> None:
        if place in self._placed:
            del self._placed[place]
            self._changed(place, False)


def _wanted(
    key: Key, holders: Mapping[str, int], heard: Mapping[str, Node], placed: Collection[Place]
) -> dict[str, int]:
    """Return the holders of a version that nobody offers through which it is wanted still."""
    left = {}
    for address, returns in holders.items():
        node = heard.get(address)
        there = None if node is None else node.holding(key)
        if node is None or node.coming or (there and (there.failed or not there.settled)):
            left[address] = returns
        elif node.returns == returns:
            return {}  # somebody unloaded it
        elif (address, key) in placed:
            left[address] = returns
    return left
