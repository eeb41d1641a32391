"""The keys in memory: no request waits for a disk, and a revoked key is refused a second later."""

from __future__ import annotations

import asyncio
import logging

from llmrouter.common.background import BackgroundTask
from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.identity.api_keys import ApiKey
from llmrouter.gateway.identity.key_store import KeyStore

__all__ = ["KeyBook"]

_LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class KeyBook:
    """Follows a store. What cannot be read is told once, and the keys known before stay good.

    Args:
        store: Where the keys are.
        interval: Seconds between two looks.
    """

    def __init__(self, store: KeyStore, interval: float = _LOOK_SECONDS) -> None:
        self._store, self._interval = store, interval
        self._keys: dict[str, ApiKey] = {}
        self._secret = b""
        self._stamp: object = None
        self._trouble: str | None = None
        self._task = BackgroundTask("follow keys")

    @property
    def secret(self) -> bytes:
        """What the keys are hashed under."""
        return self._secret

    def find(self, identifier: str) -> ApiKey | None:
        """Return the key of this id.

        Raises:
            RouterError: STORE_FAILED while no keys could ever be read.
        """
        if self._trouble is not None and not self._keys:
            raise RouterError(Reason.STORE_FAILED, self._trouble, retry_after=self._interval)
        return self._keys.get(identifier)

    async def start(self) -> None:
        """Read the keys and follow what becomes of them."""
        await self._look()
        self._task.start(self._follow())

    async def close(self) -> None:
        """Stop following. Safe to call twice."""
        await self._task.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._look()

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self._read)
        except (RouterError, OSError) as error:
            if self._trouble is None:
                _log.warning("%s", error)
            self._trouble = str(error)
        else:
            self._trouble = None

    def _read(self) -> None:
        stamp = self._store.stamp()
        if self._trouble is None and stamp == self._stamp:
            return
        keys, secret = self._store.load()
        self._keys, self._secret, self._stamp = keys, secret, stamp
