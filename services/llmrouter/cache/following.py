"""Keeps a cache service in step with the store that it shares: tasks beside its calls."""

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
_RENEW_SECONDS = 1.0
"""Between two renewals of leases: a third of what they last."""
_log = logging.getLogger(__name__)


class Following:
    """Looks for news ten times a second; from `start` to `close`.

    Leases are renewed beside that, each second: however many they are, news are not late.
    """

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
        self._known_of = b""
        """The store whose dictionary is the one that is packed with."""
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Look once, whatever comes of it, and go on looking."""
        await self._look()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._renew())]

    async def close(self) -> None:
        """Stop looking."""
        self._closing = True  # a command that is cancelled may fail instead of ending its task
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while not self._closing:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._look()

    async def _renew(self) -> None:
        while not self._closing:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self._claims.renew()
            except RouterError as error:
                _log.debug("leases are not renewed: %s", error)
            except Exception:  # noqa: BLE001 - the next time may go well
                _log.exception("leases cannot be renewed")

    async def _look(self) -> None:
        try:
            news = await self._invalidations.look()
            if not news.has_dictionary:
                await self._offer()
            elif news.id != self._known_of:
                await self._learn(news.id)
        except RouterError as error:
            _log.debug("the shared store is not followed: %s", error)
        except Exception:  # noqa: BLE001 - the next look may go well
            _log.exception("the shared store cannot be followed")

    async def _offer(self) -> None:
        """Give a store that has none, as after it was emptied, the dictionary in use here."""
        self._known_of = b""
        if self._packer.newest is not None:
            await self._store.add_dictionary(self._packer.newest)

    async def _learn(self, store_id: bytes) -> None:
        """Pack with the store's dictionary, as everyone does: another may have been first."""
        dictionary = await self._store.dictionary()
        if dictionary is not None:
            if dictionary != self._packer.newest:
                self._packer.use(dictionary)
            self._known_of = store_id
