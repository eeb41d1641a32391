"""Channels that are made anew under those who use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import grpc
from grpc import aio

from llmrouter.common.tls import CredentialFiles, Credentials

__all__ = ["RenewingChannel"]

_LOST_SECONDS = 1.0
"""gRPC itself looks a name up that stands for nobody ever more rarely, after an hour each two
minutes; a channel that is new looks at once."""
_MAX_LOOKS = 600
"""Then who is away is looked for no more until a call wants it: names that are gone stay gone."""
_READY = grpc.ChannelConnectivity.READY
_AWAY = grpc.ChannelConnectivity.TRANSIENT_FAILURE
_CLOSED = grpc.ChannelConnectivity.SHUTDOWN


@dataclass(eq=False)
class _Dialled:
    """One channel, with what makes its calls: whoever lets go of it lets go of both."""

    channel: aio.Channel
    held: Credentials | None
    calling: WeakKeyDictionary[_Method, Callable[..., Any]] = field(
        default_factory=WeakKeyDictionary
    )

    def state(self) -> grpc.ChannelConnectivity:
        """Return how its connection is; one that is not there is begun."""
        return self.channel.get_state(try_to_connect=True)

    async def connected(self, seconds: float) -> bool:
        """Return whether it is connected, now or within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while (state := self.state()) is not _READY:
                    await self.channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        return True


class _Method:
    """What a stub calls; it keeps no channel that was let go."""

    __slots__ = ("__weakref__", "_current", "_make")

    def __init__(
        self,
        current: Callable[[], _Dialled],
        make: Callable[[aio.Channel], Callable[..., Any]],
    ) -> None:
        self._current = current
        self._make = make

    def __call__(self, *request: Any, **more: Any) -> Any:
        using = self._current()
        calling = using.calling.get(self)
        if calling is None:
            calling = using.calling[self] = self._make(using.channel)
        return calling(*request, **more)


class RenewingChannel:
    """A channel, to the stubs a `grpc.aio.Channel`, that outlives certificates and lost names.

    Where nobody was to be reached for a second another one is dialled beside it, for whoever comes
    back may have a new address; every second anew, whether calls come or not. It takes over once it
    is connected: until then the addresses that are known stay in use, for the name servers may be
    away as well. One for certificates that were renewed takes over likewise, or when the connection
    of before is lost; for other CAs than were believed, at once. Calls that run meanwhile finish on
    the connection they began on.

    Args:
        address: `host:port` to dial.
        files: What is shown and believed; None dials without TLS.
        options: Those of a channel.
    """

    def __init__(
        self,
        address: str,
        files: CredentialFiles | None,
        options: tuple[tuple[str, Any], ...],
    ) -> None:
        self._address = address
        self._files = files
        self._options = options
        self._using: _Dialled | None = None
        self._next: _Dialled | None = None
        self._watching: asyncio.Task[None] | None = None

    def unary_unary(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with one answer, as of `grpc.aio.Channel`."""
        return _Method(self._current, lambda channel: channel.unary_unary(*method, **more))

    def unary_stream(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with a stream of answers, as of `grpc.aio.Channel`."""
        return _Method(self._current, lambda channel: channel.unary_stream(*method, **more))

    async def close(self, grace: float | None = None) -> None:
        """Close the connections of the moment; see `grpc.aio.Channel.close`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for one in (self._next, self._using):
            if one is not None:
                await one.channel.close(grace)

    def _current(self) -> _Dialled:
        held, using = self._held(), self._using
        if using is None or (held is not None and held.ca != _ca_of(using)):
            using = self._taken(self._dialled(held))
        elif held is not using.held:
            using = self._renewed(using, held)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._watch(using))
        return using

    def _renewed(self, using: _Dialled, held: Credentials | None) -> _Dialled:
        """Return what is to be used where other certificates are to be shown than it shows."""
        if self._next is None or self._next.held is not held:
            self._next = self._dialled(held)
        connected = using.channel.get_state() is _READY
        if self._next.state() is _READY or not connected:
            return self._taken(self._next)
        return using

    async def _watch(self, using: _Dialled) -> None:
        """Have another one take over where the one in use is lost."""
        while (state := using.channel.get_state()) is not _CLOSED:
            if state is not _AWAY:
                await using.channel.wait_for_state_change(state)
            elif not await using.connected(_LOST_SECONDS):
                found, self._next = await self._found(using), None
                if found is None:
                    return
                using = self._using = found

    async def _found(self, lost: _Dialled) -> _Dialled | None:
        """Dial others beside one that is lost; return the first that is connected, if any is."""
        for _ in range(_MAX_LOOKS):
            # One whose name is still being looked up is left to it, be the name servers slow.
            if self._next is None or self._next.state() is _AWAY:
                self._next = self._dialled(self._held())
            beside = self._next
            connected = await beside.connected(_LOST_SECONDS)
            if lost.state() is _READY:
                return lost  # whoever was away is back where it was
            if connected:
                return beside
        return None

    def _taken(self, dialled: _Dialled) -> _Dialled:
        # The one before is let go, not closed: gRPC ends it with the last of its calls.
        self._using, self._next = dialled, None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        return dialled

    def _held(self) -> Credentials | None:
        return None if self._files is None else self._files.current()

    def _dialled(self, held: Credentials | None) -> _Dialled:
        if held is None:
            return _Dialled(aio.insecure_channel(self._address, options=self._options), held)
        known = grpc.ssl_channel_credentials(held.ca, held.key, held.certificate)
        return _Dialled(aio.secure_channel(self._address, known, options=self._options), held)


def _ca_of(dialled: _Dialled) -> bytes | None:
    return None if dialled.held is None else dialled.held.ca
