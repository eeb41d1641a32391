"""Which versions serve; the answers of one that another has replaced become unusable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from llmrouter.common.errors import RouterError
from llmrouter.gateway.answer_cache import WatchedCache

__all__ = ["KnownVersions", "VersionWatch", "replaced"]

_LOOK_SECONDS = 1.0
_SEEN_SECONDS = 3.0
"""How long the last look counts."""
_log = structlog.get_logger("llmrouter.gateway.versions")


class KnownVersions(Protocol):
    """What watching versions needs of the selector."""

    async def versions(self) -> Mapping[tuple[str, str], bool]:
        """Return every model with its version, and whether it serves; else it is away."""
        ...


def replaced(
    before: Iterable[tuple[str, str]], now: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the versions that were known before and are not now, while others of their model are.

    One that is away is known, and its answers are kept for it.
    """
    known = set(now)
    models = {model for model, _ in known}
    return sorted(one for one in set(before) - known if one[0] in models)


class VersionWatch:
    """A task beside the requests, from `start` to `close`; looks every second."""

    def __init__(self, selector: KnownVersions, cache: WatchedCache) -> None:
        self._selector = selector
        self._cache = cache
        self._known: dict[str, set[tuple[str, str]]] = {}
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
        """Compare what is known now with what was before; a failed call is made again later.

        Raises:
            RouterError: Selector or cache did not answer.
        """
        now = await self._selector.versions()
        self._serving = frozenset(one for one, serves in now.items() if serves)
        self._seen_until = time.monotonic() + _SEEN_SECONDS
        before = [one for known in self._known.values() for one in known]
        for model, version in replaced(before, now):
            await self._cache.invalidate_version(model, version)
            self._known[model].discard((model, version))
            _log.info("answers of a replaced version are dropped", model=model, version=version)
        for model, version in now:
            self._known.setdefault(model, set()).add((model, version))

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except RouterError as error:
                _log.debug("versions are not watched", error=error.message)
            await asyncio.sleep(_LOOK_SECONDS)
