"""Which versions of models there are; the answers of one that another has replaced are dropped.

What was told last is kept where the answers are, so that a version is missed as well that was
replaced while the cache, the gateways or the selector were off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from llmrouter.cache.invalidations import Invalidations
from llmrouter.common.invalidation import model_label

__all__ = [
    "MOST_VERSIONS",
    "MemoryVersions",
    "VersionBook",
    "VersionKeeper",
    "Versions",
    "compared",
]

MOST_VERSIONS = 65_536
"""Versions remembered; past it the models that were told longest ago go, and their answers too."""

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


def compared(before: Versions, now: Versions, most: int = MOST_VERSIONS) -> Compared:
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

    def __init__(self, invalidations: Invalidations, keeper: VersionKeeper) -> None:
        """Begin with what the keeper remembers.

        Args:
            invalidations: Told which answers are to go.
            keeper: Remembers as long as answers are kept. It is asked each time: others may have
                told it other things, or it has begun anew.
        """
        self._invalidations = invalidations
        self._keeper = keeper
        self._telling = asyncio.Lock()

    async def tell(self, now: Versions) -> tuple[tuple[str, str], ...]:
        """Take in all versions of some models; return those whose answers were dropped.

        Raises:
            RouterError: STORE_FAILED when it could not be made durable; tell it again.
        """
        async with self._telling:
            found = compared(await self._keeper.versions(), now)
            for model, version in found.replaced:
                await self._invalidations.invalidate(model_label(model, version))
            if found.changed or found.forgotten:  # last: whatever failed before is made again
                await self._keeper.note_versions(found.changed, found.forgotten)
            return found.replaced
