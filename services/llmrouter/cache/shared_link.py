"""The way to a Redis or Valkey that cache services share; one that is slow counts as away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ClusterError, RedisError, ResponseError

from llmrouter.cache.settings import SharedSettings
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.redis_options import connection_options

__all__ = ["SharedLink"]

_T = TypeVar("_T")
_MAX_AT_ONCE = 32
"""Commands under way; more wait, as long as a command may take."""
_PROBE_SECONDS = 1.0
"""A probe may take longer: it resolves names and connects."""
_log = logging.getLogger(__name__)


class SharedLink:
    """Sends commands, each within a time limit. For one event loop.

    After one that failed or was late all others are refused at once, until a probe succeeds within
    the limit of the others: an absent or slow server costs a request one limit at most.
    """

    def __init__(self, settings: SharedSettings) -> None:
        """Connect with the first command.

        Raises:
            RouterError: STORE_FAILED when a file of the settings cannot be used.
        """
        self.address = settings.address
        self.cluster = settings.cluster
        """Whether names that a command has must lie in one slot."""
        self._limit = settings.timeout_seconds
        self._free = asyncio.Semaphore(_MAX_AT_ONCE)
        self._trouble = ""
        self._client: Any = _client(settings)

    @property
    def away(self) -> bool:
        """Whether commands are refused until a probe succeeds in time."""
        return bool(self._trouble)

    async def ask(self, call: Callable[[Any], Awaitable[_T]]) -> _T:
        """Return what the server answers.

        Args:
            call: Sends one command by the client it is given.

        Raises:
            RouterError: STORE_FAILED when it is away, late, or refuses.
        """
        if self._trouble:
            raise self._refusal()
        return await self._send(call, self._limit)

    async def probe(self, call: Callable[[Any], Awaitable[_T]]) -> _T:
        """Do the same even if it is away, within a second; success in time for others ends that.

        A server that refuses even this, as for want of a password, is as good as away.
        """
        limit = max(self._limit, _PROBE_SECONDS)
        try:
            return await self._send(call, limit)
        except RouterError as error:
            if isinstance(error.__cause__, ResponseError):
                raise self._lost(error.__cause__, limit) from error
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _send(self, call: Callable[[Any], Awaitable[_T]], limit: float) -> _T:
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit), self._free:
                answer = await call(self._client)
        except (ClusterError, OSError, TimeoutError) as error:
            raise self._lost(error, limit) from error
        except ResponseError as error:
            message = f"the shared store at {self.address} refused: {error}"
            raise RouterError(Reason.STORE_FAILED, message) from error
        except RedisError as error:
            raise self._lost(error, limit) from error
        if self._trouble and time.monotonic() - began <= self._limit:
            _log.warning("the shared store at %s is back", self.address)
            self._trouble = ""
        return answer

    def _lost(self, error: Exception, limit: float) -> RouterError:
        why = str(error) or f"no answer within {limit * 1000:g} ms"
        if not self._trouble:
            _log.warning("the shared store at %s is away: %s", self.address, why)
        self._trouble = why
        return self._refusal()

    def _refusal(self) -> RouterError:
        message = f"the shared store at {self.address} is away: {self._trouble}"
        return RouterError(Reason.STORE_FAILED, message, retry_after=1.0)


def _client(settings: SharedSettings) -> Redis | RedisCluster:
    options = connection_options(settings, "cache.shared")
    if settings.cluster:
        return RedisCluster(**options)
    return Redis(db=settings.database, **options)
