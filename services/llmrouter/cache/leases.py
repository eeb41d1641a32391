"""Who may generate an answer that several gateways miss: one lease per key, held by a session."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Leases"]

_MOST = 65_536
"""Leases at once; past it everyone may generate, as if there were none."""


_LONGEST_SECONDS = 60.0
"""Afterwards another session may take it: its holder may have forgotten it."""


@dataclass(slots=True)
class _Lease:
    session: str
    taken: float
    waiting: deque[tuple[str, asyncio.Future[bool]]] = field(default_factory=deque)


class Leases:
    """Leases by key. A lease ends with its answer, its release or its session."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._held: OrderedDict[bytes, _Lease] = OrderedDict()  # by when they were taken
        self._clock = clock

    def take(self, key: bytes, session: str) -> bool:
        """Return whether `session` may generate; it then holds the lease, if it did not before."""
        lease, now = self._held.get(key), self._clock()
        if lease is None:
            self.sweep()
            if len(self._held) < _MOST:
                self._held[key] = _Lease(session, now)
            return True
        if now - lease.taken > _LONGEST_SECONDS:
            self._pass_on(key, lease, session)
        return lease.session == session

    def holds(self, key: bytes, session: str) -> bool:
        """Return whether `session` holds the lease."""
        lease = self._held.get(key)
        return lease is not None and lease.session == session

    def held(self, key: bytes) -> bool:
        """Return whether any session holds the lease."""
        return key in self._held

    async def wait(self, key: bytes, session: str) -> bool:
        """Wait for the answer of a key, or for its lease.

        Returns:
            True when the answer was stored, False when `session` holds the lease.
        """
        if self.take(key, session):
            return False
        waiting = self._held[key].waiting
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        place = (session, told)
        waiting.append(place)
        try:
            return await told
        except asyncio.CancelledError:
            if told.done() and not told.cancelled() and not told.result():
                self.release(key, session)  # granted in the moment of giving up
            raise
        finally:
            if place in waiting:
                waiting.remove(place)

    def answered(self, key: bytes) -> None:
        """End the lease: everyone who waits finds the answer."""
        lease = self._held.pop(key, None)
        for _, told in lease.waiting if lease else ():
            if not told.done():
                told.set_result(True)

    def release(self, key: bytes, session: str) -> None:
        """End the lease without an answer: who waits longest holds it next."""
        lease = self._held.get(key)
        if lease is None or lease.session != session:
            return
        while lease.waiting:
            following, told = lease.waiting.popleft()
            if not told.done():
                self._pass_on(key, lease, following)
                told.set_result(False)
                return
        del self._held[key]

    def sweep(self) -> None:
        """End the leases whose holders may have forgotten them."""
        while self._held:
            key, lease = next(iter(self._held.items()))
            if self._clock() - lease.taken <= _LONGEST_SECONDS:
                return
            self.release(key, lease.session)

    def end(self, session: str) -> None:
        """End every lease of a session that is gone."""
        for key in [key for key, lease in self._held.items() if lease.session == session]:
            self.release(key, session)

    def close(self) -> None:
        """Let everyone who waits generate."""
        for lease in self._held.values():
            for _, told in lease.waiting:
                if not told.done():
                    told.set_result(False)
        self._held.clear()

    def _pass_on(self, key: bytes, lease: _Lease, session: str) -> None:
        lease.session, lease.taken = session, self._clock()
        self._held.move_to_end(key)

    def __len__(self) -> int:
        return len(self._held)
