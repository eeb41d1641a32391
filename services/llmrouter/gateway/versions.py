"""Which versions serve; the cache is told which there are, and drops answers of replaced ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import structlog

from llmrouter.common.errors import RouterError
from llmrouter.gateway.answer_cache import WatchedCache

__all__ = ["KnownVersions", "VersionWatch", "parted"]

_LOOK_SECONDS = 1.0
_MOST_TOLD = 4_096
"""Versions in one call."""
_SEEN_SECONDS = 3.0
"""How long the last look counts."""
_log = structlog.get_logger("llmrouter.gateway.versions")


class KnownVersions(Protocol):
    """What watching versions needs of the selector."""

    async def versions(self) -> Mapping[tuple[str, str], bool]:
        """Return every model with its version, and whether it serves; else it is away."""
        ...


def parted(
    known: Iterable[tuple[str, str]], most: int = _MOST_TOLD
) -> Iterator[list[tuple[str, str]]]:
    """Yield all versions in parts of at most `most`, none of which splits a model that fits."""
    part: list[tuple[str, str]] = []
    for _, versions in groupby(sorted(known), key=itemgetter(0)):
        group = list(versions)[:most]
        if part and len(part) + len(group) > most:
            yield part
            part = []
        part += group
    if part:
        yield part


class VersionWatch:
    """A task beside the requests, from `start` to `close`; looks every second."""

    def __init__(self, selector: KnownVersions, cache: WatchedCache) -> None:
        self._selector = selector
        self._cache = cache
        self._serving: frozenset[tuple[str, str]] = frozenset()
        self._seen_until = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def serves(self, model: str, version: str) -> bool:
        """Return whether a version serves; False when the selector was not heard of lately."""
        return (model, version) in self._serving and time.monotonic() < self._seen_until

    async def look(self) -> None:
        """Take in what is known now, and tell the cache, which knows what was before.

        It is told each time: it may have begun anew, and knows by that who is there.

        Raises:
            RouterError: Selector or cache did not answer.
        """
        now = await self._selector.versions()
        self._serving = frozenset(one for one, serves in now.items() if serves)
        self._seen_until = time.monotonic() + _SEEN_SECONDS
        for part in parted(now):
            for model, version in await self._cache.tell_versions(part):
                _log.info("answers of a replaced version are dropped", model=model, version=version)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except RouterError as error:
                _log.debug("versions are not watched", error=error.message)
            await asyncio.sleep(_LOOK_SECONDS)
