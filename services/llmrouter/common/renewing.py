"""Channels that are made anew under those who use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from llmrouter.common.tls import CredentialFiles, Credentials

__all__ = ["RenewingChannel"]

_LOST_SECONDS = 5.0
"""gRPC itself looks a name up that stands for nobody ever more rarely, after an hour each two
minutes; a channel that is new looks at once."""


class RenewingChannel:
    """A channel, to the stubs a `grpc.aio.Channel`, that outlives certificates and lost names.

    It is dialled anew for certificates that were renewed, and where nobody was to be reached for
    five seconds: whoever comes back then has a new address. Calls that run meanwhile finish on the
    connection they began on.

    Args:
        address: `host:port` to dial.
        files: What is shown and believed; None dials without TLS.
        options: Those of a channel.
        clock: Seconds.
    """

    def __init__(
        self,
        address: str,
        files: CredentialFiles | None,
        options: tuple[tuple[str, Any], ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._files = files
        self._options = options
        self._clock = clock
        self._held: Credentials | None = None
        self._channel: aio.Channel | None = None
        self._lost_since: float | None = None

    def unary_unary(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with one answer, as of `grpc.aio.Channel`."""
        return self._made(lambda channel: channel.unary_unary(*method, **more))

    def unary_stream(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with a stream of answers, as of `grpc.aio.Channel`."""
        return self._made(lambda channel: channel.unary_stream(*method, **more))

    async def close(self, grace: float | None = None) -> None:
        """Close the connection of the moment; see `grpc.aio.Channel.close`."""
        if self._channel is not None:
            await self._channel.close(grace)

    def _made(self, make: Callable[[aio.Channel], Callable[..., Any]]) -> Callable[..., Any]:
        on: aio.Channel | None = None
        calling: Callable[..., Any] | None = None

        def call(*request: Any, **more: Any) -> Any:
            nonlocal on, calling
            channel = self._current()
            if calling is None or channel is not on:
                on, calling = channel, make(channel)
            return calling(*request, **more)

        return call

    def _current(self) -> aio.Channel:
        held = None if self._files is None else self._files.current()
        if self._channel is None or held is not self._held or self._is_lost(self._channel):
            self._held, self._lost_since = held, None
            # The one before is let go, not closed: gRPC ends it with the last of its calls.
            self._channel = self._dialled(held)
        return self._channel

    def _dialled(self, held: Credentials | None) -> aio.Channel:
        if held is None:
            return aio.insecure_channel(self._address, options=self._options)
        known = grpc.ssl_channel_credentials(held.ca, held.key, held.certificate)
        return aio.secure_channel(self._address, known, options=self._options)

    def _is_lost(self, channel: aio.Channel) -> bool:
        if channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._lost_since = None
            return False
        now = self._clock()
        if self._lost_since is None:
            self._lost_since = now
        return now - self._lost_since >= _LOST_SECONDS
