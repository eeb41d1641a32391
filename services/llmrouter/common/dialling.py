"""Channels to other services by address: sockets, or servicers of this very process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from grpc import aio

__all__ = ["Dialler"]

_OPTIONS = (
    # Services reach each other directly; a proxy set for the outside world is not meant for them.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_MAX_CHANNELS = 1024
_GRACE_SECONDS = 60.0


class Dialler:
    """Keeps one channel per address.

    Args:
        local: Channels that stand for addresses served by this process.
    """

    def __init__(self, local: Mapping[str, Any] | None = None) -> None:
        self._channels: dict[str, Any] = {}
        self._local = dict(local or {})
        self._closing: set[asyncio.Future[None]] = set()

    def channel(self, address: str) -> Any:
        """Return the channel to `host:port`; past a bound the oldest one is let go."""
        if address in self._local:
            return self._local[address]
        if address not in self._channels:
            if len(self._channels) >= _MAX_CHANNELS:
                self._let_go(self._channels.pop(next(iter(self._channels))))
            self._channels[address] = aio.insecure_channel(address, options=_OPTIONS)
        return self._channels[address]

    def add_local(self, address: str, channel: Any) -> None:
        """Let `channel` stand for `address`."""
        self._local[address] = channel

    async def close(self) -> None:
        """Close every channel."""
        channels = [*self._channels.values()]
        self._channels.clear()
        await asyncio.gather(*(channel.close() for channel in channels), *self._closing)

    def _let_go(self, channel: Any) -> None:
        """Close a channel once the calls on it have had time to end."""
        closing = asyncio.ensure_future(channel.close(_GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
