"""The gateways that a client may ask: calls go to all of them in turn, past those that are away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

from llmrouter.v1 import gateway_pb2_grpc

__all__ = ["Gateway", "Gateways"]

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    # A gateway that comes back is found soon; the second is how long a connection may take.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A name may stand for several gateways; once a connection is lost it is looked up again, for
    # one that is replaced has a new address. gRPC alone would leave half a minute between looks;
    # so short a time falls between two tries of a call, and each lost connection is tried more
    # rarely than that.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.dns_min_time_between_resolutions_ms", 100),
    # While a call waits, a gateway that has vanished without a word is noticed in ten seconds.
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
)
_REST_SECONDS = 1.0
"""For how long one that failed is asked only where all have."""
_READY, _ON_THE_WAY, _AWAY = range(3)
_CONNECTED = grpc.ChannelConnectivity.READY
_GONE = grpc.ChannelConnectivity.TRANSIENT_FAILURE
_LOST_SECONDS = 5.0
"""For how long nobody is to be reached until an address is dialled anew, beside the connection that
there is: gRPC itself looks a name up that stands for nobody ever more rarely, after an hour each
two minutes."""
_MAX_LOOKS = 120
"""Then who is away is looked for no more until a call wants it."""
_GRACE_SECONDS = 3600.0
"""What calls on a channel that is let go have left."""


class Gateway:
    """One address, dialled when it is first asked."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.address = address
        self.rests_until = 0.0
        self._credentials = credentials
        self._channel: aio.Channel | None = None
        self._next: aio.Channel | None = None
        self._looking: asyncio.Task[None] | None = None
        self._let_go: dict[asyncio.Future[None], aio.Channel] = {}
        self._closed = False

    @property
    def stub(self) -> gateway_pb2_grpc.GatewayServiceAsyncStub:
        """Its methods."""
        return gateway_pb2_grpc.GatewayServiceStub(self._dialled())

    def standing(self) -> int:
        """Return how near its connection is, the nearest first; one that is not there is begun."""
        state = _state(self._dialled())
        if state is _CONNECTED:
            return _READY
        return _AWAY if state is _GONE else _ON_THE_WAY

    async def close(self) -> None:
        """Close the connection and cancel what still runs on it."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        channels = [*self._let_go.values(), *filter(None, [self._channel, self._next])]
        self._channel = self._next = None
        for closing in self._let_go:
            closing.cancel()
        await asyncio.gather(*self._let_go, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in channels))

    def _dialled(self) -> aio.Channel:
        if self._closed:  # A call may have paused for another try when it was.
            raise RuntimeError("the client is closed")
        if self._channel is None:
            self._channel = self._dial()
        if self._channel.get_state() is _GONE and (self._looking is None or self._looking.done()):
            looking = self._look(self._channel)
            self._looking = asyncio.get_running_loop().create_task(looking)
        return self._channel

    async def _look(self, lost: aio.Channel) -> None:
        """Have another channel take over from one that is lost, whether calls come or not.

        Until the other one is connected the addresses that are known stay in use, for the name
        servers may be away as well.
        """
        if await _is_connected(lost):
            return
        found = await self._found(lost)
        beside, self._next = self._next, None
        if found is None or found is not beside:
            self._let(beside)
        else:
            self._channel = beside
            self._let(lost)

    async def _found(self, lost: aio.Channel) -> aio.Channel | None:
        """Dial others beside one that is lost; return the first that is connected, if any is."""
        for _ in range(_MAX_LOOKS):
            if self._next is None or _state(self._next) is _GONE:
                # One whose name is still being looked up is left to it, be the name servers slow.
                self._let(self._next)
                self._next = self._dial()
            connected = await _is_connected(self._next)
            if _state(lost) is _CONNECTED:
                return lost
            if connected:
                return self._next
        return None

    def _let(self, channel: aio.Channel | None) -> None:
        """Let a channel go once its calls have ended."""
        if channel is not None:
            closing = asyncio.ensure_future(channel.close(_GRACE_SECONDS))
            self._let_go[closing] = channel
            closing.add_done_callback(lambda done: self._let_go.pop(done, None))

    def _dial(self) -> aio.Channel:
        proxied = ("grpc.enable_http_proxy", 0 if self._is_here() else 1)
        options: list[tuple[str, Any]] = [*_CHANNEL_OPTIONS, proxied]
        if self._credentials is None:
            return aio.insecure_channel(self.address, options=options)
        return aio.secure_channel(self.address, self._credentials, options=options)

    def _is_here(self) -> bool:
        """Whether the gateway is on this machine, where no proxy leads to."""
        host = self.address.rpartition(":")[0].strip("[]")
        return host in ("localhost", "::1") or host.startswith("127.")


def _state(channel: aio.Channel) -> grpc.ChannelConnectivity:
    """Return how its connection is; one that is not there is begun."""
    return channel.get_state(try_to_connect=True)


async def _is_connected(channel: aio.Channel) -> bool:
    """Return whether it is connected, now or within the time that a lost one is given."""
    try:
        async with asyncio.timeout(_LOST_SECONDS):
            while (state := _state(channel)) is not _CONNECTED:
                await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
    return True


class Gateways:
    """All of them, each with a connection of its own.

    Args:
        addresses: `host:port` of each, at least one.
        credentials: How they are reached over TLS; None speaks without.
    """

    def __init__(
        self, addresses: Sequence[str], credentials: grpc.ChannelCredentials | None
    ) -> None:
        self._all = [Gateway(address, credentials) for address in dict.fromkeys(addresses)]
        self._turn = 0

    def pick(self) -> Gateway:
        """Return whose turn it is: of those that have not failed lately and are connected."""
        self._turn += 1
        if len(self._all) == 1:
            return self._all[0]
        first, now = self._turn % len(self._all), asyncio.get_running_loop().time()
        in_turn = self._all[first:] + self._all[:first]
        return min(in_turn, key=lambda one: (max(0.0, one.rests_until - now), one.standing()))

    def failed(self, gateway: Gateway) -> bool:
        """Take in that one did not answer; return whether another one may at once."""
        now = asyncio.get_running_loop().time()
        gateway.rests_until = now + _REST_SECONDS
        return any(one.rests_until <= now for one in self._all)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(one.close() for one in self._all))
