"""What one of several selectors may do at a time: a lease in the server that they share.

It is renewed on the connection of the shared state, and ends by itself where that is lost: the
clock here ends it earlier than the server gives it to another.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

__all__ = ["RedisLease"]

_LIFE_SECONDS = 15.0
# KEYS: the lease. ARGV: who asks, and for how many milliseconds. Returns 1 where it is theirs.
_TAKE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_log = logging.getLogger(__name__)


class RedisLease:
    """Held by one selector at most; of one event loop.

    Args:
        name: Its key in the server.
        life: Seconds that it lasts in the server unless it is taken again; here it ends after two
            thirds of them.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        name: str,
        life: float = _LIFE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._life, self._clock = name, life, clock
        self._owner = secrets.token_hex(8)
        self._until = -math.inf
        self._refused = ""

    def held(self) -> bool:
        """Whether it is this selector's, and nobody else's for now."""
        return self._clock() < self._until

    async def take(self, client: Redis) -> None:
        """Take it or renew it once, unless it is another's; a server that refuses is told once."""
        asked = self._clock()
        try:
            told: Any = client.eval(_TAKE, 1, self._name, self._owner, str(int(self._life * 1000)))
            ours = await told
        except ResponseError as error:  # no reason not to share the rest
            if str(error) != self._refused:
                _log.warning("the lease %s cannot be taken: %s", self._name, error)
            self._refused = str(error)
            return
        self._refused = ""
        self._until = asked + self._life * 2 / 3 if ours else -math.inf
