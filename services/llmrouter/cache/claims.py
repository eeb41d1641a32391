"""Who may generate a missing answer: among the gateways here, then among services that share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from llmrouter.cache.leases import Leases
from llmrouter.common.errors import RouterError

__all__ = ["Claim", "Claims", "SharedLeases"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.25
"""Between two looks at a lease that another service holds: many may wait."""
_log = logging.getLogger(__name__)


class Claim(IntEnum):
    """What became of the wish for a lease."""

    HELD = 0
    """Another service holds it."""
    GRANTED = 1
    ANSWERED = 2
    """Granted, and there is an answer by now: look again."""


class SharedLeases(Protocol):
    """Leases of this service in a store that others share; each raises RouterError."""

    async def take(self, key: bytes) -> Claim:
        """Take the lease of a key, if nobody else holds it."""
        ...

    async def renew(self, keys: Sequence[bytes]) -> None:
        """Make leases last: they end by themselves soon."""
        ...

    async def drop(self, key: bytes) -> None:
        """End a lease."""
        ...


class Claims:
    """Leases of sessions; a session that leads here may have to wait for another service.

    Without the shared store, or while it is away, those here are all there is.
    """

    def __init__(self, leases: Leases, shared: SharedLeases | None = None) -> None:
        self._leases = leases
        self._shared = shared
        self._ours: set[bytes] = set()

    def holds(self, key: bytes, session: str) -> bool:
        """Return whether `session` leads here."""
        return self._leases.holds(key, session)

    def lead(self, key: bytes, session: str) -> bool:
        """Return whether `session` leads here; no other session does then."""
        return self._leases.take(key, session)

    async def take(self, key: bytes) -> Claim:
        """Take the lease for a session that leads here."""
        if self._shared is None:
            return Claim.GRANTED
        try:
            claim = await self._shared.take(key)
        except RouterError as error:
            _log.debug("a lease is granted without asking: %s", error)
            return Claim.GRANTED
        if claim is not Claim.HELD:
            self._ours.add(key)
        return claim

    async def wait(self, key: bytes, session: str) -> bool:
        """Wait for the answer of a key, or for its lease.

        Returns:
            True when the answer was stored here, False when `session` holds the lease; an answer
            that was stored elsewhere is there by then.
        """
        if await self._leases.wait(key, session):
            return True
        pause = _FIRST_PAUSE
        try:
            while await self.take(key) is Claim.HELD:  # elsewhere, without an event
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, 1.5 * pause)
        except BaseException:
            self._leases.release(key, session)
            raise
        return False

    async def answered(self, key: bytes) -> None:
        """End the lease: everyone who waits finds the answer."""
        self._leases.answered(key)
        await self._drop(key)

    async def release(self, key: bytes, session: str) -> None:
        """End the lease without an answer: who waits longest holds it next."""
        leads = self._leases.holds(key, session)
        self._leases.release(key, session)
        if leads:
            await self._drop(key)

    async def end(self, session: str) -> None:
        """End every lease of a session that is gone."""
        self._leases.end(session)
        for key in [key for key in self._ours if not self._leases.held(key)]:
            await self._drop(key)

    async def renew(self) -> None:
        """Make the leases of this service last; those that nobody leads for any more end."""
        self._leases.sweep()
        for key in [key for key in self._ours if not self._leases.held(key)]:
            await self._drop(key)
        if self._shared is not None and self._ours:
            await self._shared.renew(list(self._ours))

    def close(self) -> None:
        """Let everyone who waits generate."""
        self._leases.close()

    async def _drop(self, key: bytes) -> None:
        if key not in self._ours or self._shared is None:
            return
        self._ours.discard(key)
        try:
            await self._shared.drop(key)
        except RouterError as error:
            _log.debug("a lease ends by itself: %s", error)
