"""Keeps a cache service in step with the store that it shares: a task beside its calls."""

from __future__ import annotations

import asyncio
import logging

from llmrouter.cache.claims import Claims
from llmrouter.cache.compression import Packer
from llmrouter.cache.shared_invalidations import SharedInvalidations
from llmrouter.cache.shared_store import SharedStore
from llmrouter.common.errors import RouterError

__all__ = ["Following"]

_LOOK_SECONDS = 0.1
_RENEW_EACH = 10
"""Looks between two renewals of leases."""
_log = logging.getLogger(__name__)


class Following:
    """Looks for news ten times a second, renews leases each second; from `start` to `close`."""

    def __init__(
        self,
        store: SharedStore,
        invalidations: SharedInvalidations,
        packer: Packer,
        claims: Claims,
    ) -> None:
        self._store = store
        self._invalidations = invalidations
        self._packer = packer
        self._claims = claims
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, whatever comes of it, and go on looking."""
        await self._look()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            await self._look(renew=looks % _RENEW_EACH == 0)

    async def _look(self, *, renew: bool = False) -> None:
        try:
            news = await self._invalidations.look()
            if news.has_dictionary and not self._packer.learned:
                dictionary = await self._store.dictionary()
                if dictionary is not None:
                    self._packer.use(dictionary)
            if renew:
                await self._claims.renew()
        except RouterError as error:
            _log.debug("the shared store is not followed: %s", error)
        except Exception:  # noqa: BLE001 - the next look may go well
            _log.exception("the shared store cannot be followed")
