"""Channels that are made anew under those who use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import grpc
from grpc import aio

from llmrouter.common.tls import CredentialFiles, Credentials

__all__ = ["RenewingChannel"]

_LOST_SECONDS = 5.0
"""gRPC itself looks a name up that stands for nobody ever more rarely, after an hour each two
minutes; a channel that is new looks at once."""
_READY = grpc.ChannelConnectivity.READY
_AWAY = grpc.ChannelConnectivity.TRANSIENT_FAILURE


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

    Where nobody was to be reached for five seconds another one is dialled beside it, for whoever
    comes back may have a new address. It takes over once it is connected: until then the addresses
    that are known stay in use, for the name servers may be away as well. One for certificates that
    were renewed takes over likewise, or when the connection of before is lost; for other CAs than
    were believed, at once. Calls that run meanwhile finish on the connection they began on.

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
        self._using: _Dialled | None = None
        self._next: _Dialled | None = None
        self._lost_since: float | None = None

    def unary_unary(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with one answer, as of `grpc.aio.Channel`."""
        return _Method(self._current, lambda channel: channel.unary_unary(*method, **more))

    def unary_stream(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with a stream of answers, as of `grpc.aio.Channel`."""
        return _Method(self._current, lambda channel: channel.unary_stream(*method, **more))

    async def close(self, grace: float | None = None) -> None:
        """Close the connections of the moment; see `grpc.aio.Channel.close`."""
        for one in (self._next, self._using):
            if one is not None:
                await one.channel.close(grace)

    def _current(self) -> _Dialled:
        held = None if self._files is None else self._files.current()
        using = self._using
        if using is None or (held is not None and held.ca != _ca_of(using)):
            return self._taken(self._dialled(held))
        outdated, lost = held is not using.held, self._is_lost(using)
        beside = self._beside(held, outdated, lost)
        if beside is None:
            return using
        connected = using.channel.get_state() is _READY
        if beside.state() is _READY or (outdated and not connected):
            return self._taken(beside)
        if connected and not outdated:
            self._next = None  # whoever was away is back where it was
        return using

    def _beside(self, held: Credentials | None, outdated: bool, lost: bool) -> _Dialled | None:
        """Return what is to take over, dialled where it is wanted and there is none of use."""
        if self._next is None or self._next.held is not held:
            wanted = outdated or lost
        else:
            # One whose name is still being looked up is left to it, be the name servers slow.
            wanted = lost and self._next.state() is _AWAY
        if wanted:
            self._next, self._lost_since = self._dialled(held), self._clock()
        return self._next

    def _taken(self, dialled: _Dialled) -> _Dialled:
        # The one before is let go, not closed: gRPC ends it with the last of its calls.
        self._using, self._next, self._lost_since = dialled, None, None
        return dialled

    def _dialled(self, held: Credentials | None) -> _Dialled:
        if held is None:
            return _Dialled(aio.insecure_channel(self._address, options=self._options), held)
        known = grpc.ssl_channel_credentials(held.ca, held.key, held.certificate)
        return _Dialled(aio.secure_channel(self._address, known, options=self._options), held)

    def _is_lost(self, using: _Dialled) -> bool:
        """Whether nobody was to be reached for a while, since another one was dialled if so."""
        if using.channel.get_state() is not _AWAY:
            self._lost_since = None
            return False
        now = self._clock()
        if self._lost_since is None:
            self._lost_since = now
        return now - self._lost_since >= _LOST_SECONDS


def _ca_of(dialled: _Dialled) -> bytes | None:
    return None if dialled.held is None else dialled.held.ca
