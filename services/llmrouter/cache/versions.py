"""Which versions of models there are; the answers of one that another has replaced are dropped.

What was told last is kept where the answers are, so that a version is missed as well that was
replaced while the cache, the gateways or the selector were off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from llmrouter.cache.invalidations import Invalidations
from llmrouter.common.invalidation import model_label

__all__ = [
    "MAX_VERSIONS",
    "MemoryVersions",
    "VersionBook",
    "VersionKeeper",
    "Versions",
    "compared",
]

MAX_VERSIONS = 65_536
"""Versions remembered; past it the models that were told longest ago go, and their answers too."""
_COUNTS_SECONDS = 10.0
"""How long a selector counts of which nothing more is told. Of several a gateway asks another each
second, and tells another of several cache services: each of these hears of each now and then.
"""
_MAX_SELECTORS = 64

Versions = Mapping[str, frozenset[str]]
"""By model."""


class Compared(NamedTuple):
    """What has changed."""

    replaced: tuple[tuple[str, str], ...]
    """Models and versions whose answers are to go."""
    changed: dict[str, frozenset[str]]
    """What is to be remembered of models of which another thing was."""
    forgotten: tuple[str, ...]
    """Models that there is no room for."""


class VersionKeeper(Protocol):
    """Remembers versions as durably as answers. Both may raise RouterError: STORE_FAILED."""

    async def versions(self) -> Versions:
        """Return what is remembered, what was noted longest ago first."""
        ...

    async def note_versions(self, changed: Versions, forgotten: Sequence[str]) -> None:
        """Remember these models as they are now, and no longer those that are forgotten."""
        ...


def compared(before: Versions, now: Versions, most: int = MAX_VERSIONS) -> Compared:
    """Return what has changed since `before`, of the models that are named now.

    Args:
        before: What is remembered, what was noted longest ago first.
        now: All versions of the models that are named.
        most: Versions remembered at most, as long as not more than that are told at once.
    """
    replaced = [(name, one) for name in now for one in before.get(name, frozenset()) - now[name]]
    changed = {name: known for name, known in now.items() if before.get(name) != known}
    count = sum(map(len, {**before, **now}.values()))
    forgotten = []
    for name in before:
        if count <= most:
            break
        if name not in now:
            forgotten.append(name)
            count -= len(before[name])
            replaced += [(name, one) for one in before[name]]
    return Compared(tuple(sorted(replaced)), changed, tuple(forgotten))


class MemoryVersions:
    """Remembers as long as the answers, in memory."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}

    async def versions(self) -> Versions:
        """Return what is remembered, what was noted longest ago first."""
        return self._known

    async def note_versions(self, changed: Versions, forgotten: Sequence[str]) -> None:
        """Remember these models as they are now, and no longer those that are forgotten."""
        gone = {*forgotten, *changed}
        left = {name: one for name, one in self._known.items() if name not in gone}
        self._known = {**left, **changed}


class VersionBook:
    """What was told of versions, and what follows from it."""

    def __init__(
        self,
        invalidations: Invalidations,
        keeper: VersionKeeper,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with what the keeper remembers.

        Args:
            invalidations: Told which answers are to go.
            keeper: Remembers as long as answers are kept.
            clock: Seconds; never goes backwards.
        """
        self._invalidations = invalidations
        self._keeper = keeper
        self._clock = clock
        self._told: dict[str, dict[str, tuple[frozenset[str], float]]] = {}
        """By model and selector: what it knew, and until when that counts."""
        self._noted: dict[str, frozenset[str]] = {}
        """What was noted here last; other services of the store may have noted other things."""
        self._noted_at = b""
        """The store where that is."""
        self._telling = asyncio.Lock()
        self._last: asyncio.Task[tuple[tuple[str, str], ...]] | None = None

    async def tell(self, now: Versions, selector: str = "") -> tuple[tuple[str, str], ...]:
        """Take in all versions of some models; return those whose answers were dropped.

        A caller that gives up does not stop what was begun: however slow the disk is, the next does
        not begin from the start.

        Args:
            now: The versions by model.
            selector: Who knows it; what others knew lately is there as well.

        Raises:
            RouterError: STORE_FAILED when it could not be made durable; tell it again.
        """
        await self._telling.acquire()
        self._last = asyncio.ensure_future(self._take_in(now, selector))
        self._last.add_done_callback(lambda _: self._telling.release())
        return await asyncio.shield(self._last)

    async def _take_in(self, now: Versions, selector: str) -> tuple[tuple[str, str], ...]:
        if self._noted_at != self._invalidations.store_id:
            self._noted.clear()
        there = self._everybody(now, selector)
        if all(self._noted.get(name) == known for name, known in there.items()):
            return ()
        found = compared(await self._keeper.versions(), there)
        missed = {
            (name, one)
            for name, known in there.items()
            for one in self._noted.get(name, frozenset()) - known
        }
        replaced = tuple(sorted({*found.replaced, *missed}))
        labels = [model_label(model, version) for model, version in replaced]
        if labels:
            await self._invalidations.invalidate_all(labels)
        await self._keeper.note_versions(found.changed, found.forgotten)
        # Last: whatever failed before is made again.
        for name in found.forgotten:
            self._noted.pop(name, None)
            self._told.pop(name, None)
        self._noted.update(there)
        self._noted_at = self._invalidations.store_id
        return replaced

    def _everybody(self, now: Versions, selector: str) -> dict[str, frozenset[str]]:
        """Return what all selectors know of these models."""
        at, found = self._clock(), {}
        for name, versions in now.items():
            known = self._told.get(name, {})
            known = {who: one for who, one in known.items() if one[1] > at and who != selector}
            for eldest in list(known)[: max(0, len(known) - _MAX_SELECTORS)]:
                del known[eldest]
            known[selector] = (versions, at + _COUNTS_SECONDS)
            self._told[name] = known
            found[name] = frozenset().union(*(told for told, _ in known.values()))
        return found
