"""When to try again: only what is safe to repeat, with a jittered pause, within the deadline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc

from llmrouter_client.errors import LlmrouterError
from llmrouter_client.gateways import Gateway, Gateways

__all__ = ["Retrying"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_LONGEST_TIMEOUT = 1e9
"""Seconds; gRPC counts nanoseconds in 64 bits and takes more for a deadline long past."""


class Retrying:
    """The retries of one call.

    Args:
        retries: How often to try again at most.
        timeout: Seconds for the whole call, pauses included; None sets no deadline.
        gateways: Whom to ask; each try asks another where there is one.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        retries: int,
        timeout: float | None,
        gateways: Gateways,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._retries = retries
        self._gateways = gateways
        self._asked: Gateway | None = None
        self._sleep = sleep
        self._made = 0
        now = asyncio.get_running_loop().time()
        self._deadline = None if timeout is None else now + min(timeout, _LONGEST_TIMEOUT)

    def ask(self) -> Gateway:
        """Return the gateway that this try asks."""
        self._asked = self._gateways.pick()
        return self._asked

    @property
    def address(self) -> str:
        """Of the gateway asked last; empty before."""
        return "" if self._asked is None else self._asked.address

    def remaining(self) -> float | None:
        """Return the seconds left until the deadline; None when there is none."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def pause(self, error: LlmrouterError) -> bool:
        """Wait before another try; False, at once, when there shall be none.

        Where another gateway is left there is nothing to wait for.
        """
        if error.code != grpc.StatusCode.UNAVAILABLE:
            return False
        away = error.transport or error.reason == "DRAINING"
        others = away and self._asked is not None and self._gateways.failed(self._asked)
        if self._made >= self._retries:
            return False
        if others:
            self._made += 1
            return self.remaining() != 0
        backoff = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._made)
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        seconds = max(jittered, error.retry_after or 0.0)
        remaining = self.remaining()
        if remaining is not None and seconds >= remaining:
            return False
        self._made += 1
        await self._sleep(seconds)
        return True
