"""Which versions serve; the cache is told which there are, and drops answers of replaced ones."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import structlog

from llmrouter.common.background import BackgroundTask
from llmrouter.common.errors import RouterError
from llmrouter.gateway.answer_cache import WatchedCache

__all__ = ["KnownVersions", "VersionWatch", "parted"]

_LOOK_SECONDS = 1.0
_MAX_TOLD = 4_096
"""Versions in one call at most."""
_TOLD_AT_ONCE = 512
"""Versions in one call as long as no model has more: each holds up both sides for some 3 ms."""
_TELL_SECONDS = 1.5
"""How long parts are told in one look, however slow the cache is; what serves is looked for too."""
_SEEN_SECONDS = 3.0
"""How long the last look counts."""
_WARNED_EVERY = 60
"""Looks that fail in a row until it is said again; the first time is after `_PATIENCE`."""
_PATIENCE = 5
_log = structlog.get_logger("llmrouter.gateway.versions")


class KnownVersions(Protocol):
    """What watching versions needs of the selector."""

    async def versions(self) -> tuple[str, Mapping[tuple[str, str], bool]]:
        """Return who tells, and whether each version of each model serves; else it is away."""
        ...


def parted(
    known: Iterable[tuple[str, str]], most: int = _TOLD_AT_ONCE
) -> Iterator[list[tuple[str, str]]]:
    """Yield all versions in parts of `most`, or of one model that has more; none is split."""
    part: list[tuple[str, str]] = []
    for _, versions in groupby(sorted(known), key=itemgetter(0)):
        group = list(versions)[:_MAX_TOLD]
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
        self._next: list[tuple[str, str]] = []
        """The part with which telling goes on: there was no time left for it."""
        self._failed = 0
        """Looks in a row."""
        self._task = BackgroundTask("follow versions")

    async def start(self) -> None:
        """Begin to look."""
        self._task.start(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        await self._task.close()

    def serves(self, model: str, version: str) -> bool:
        """Return whether a version serves; False when the selector was not heard of lately."""
        return (model, version) in self._serving and time.monotonic() < self._seen_until

    async def look(self) -> None:
        """Take in what is known now, and tell the cache, which knows what was before.

        It is told each time: it may have begun anew, and knows by that who is there. A part that
        it did not take does not keep the others from being told.

        Raises:
            RouterError: Selector or cache did not answer; of the parts, to the first that failed.
        """
        name, now = await self._selector.versions()
        self._serving = frozenset(one for one, serves in now.items() if serves)
        self._seen_until = time.monotonic() + _SEEN_SECONDS
        if (failure := await self._tell(name, list(parted(now)))) is not None:
            raise failure

    async def _tell(self, selector: str, parts: list[list[tuple[str, str]]]) -> RouterError | None:
        """Tell parts as long as there is time; return the first failure."""
        until = time.monotonic() + _TELL_SECONDS
        failure: RouterError | None = None
        begin = bisect_left(parts, self._next)
        self._next = []
        for part in parts[begin:] + parts[:begin]:
            if time.monotonic() > until:
                self._next = part
                break
            try:
                gone = await self._cache.tell_versions(part, selector)
            except RouterError as error:
                failure = failure or error
                continue
            for model, version in gone:
                _log.info("answers of a replaced version are dropped", model=model, version=version)
        return failure

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
                self._failed = 0
            except RouterError as error:
                self._failed += 1
                often = self._failed % _WARNED_EVERY == _PATIENCE
                log = _log.warning if often else _log.debug
                log("versions are not watched", error=error.message, looks=self._failed)
            await asyncio.sleep(_LOOK_SECONDS)
