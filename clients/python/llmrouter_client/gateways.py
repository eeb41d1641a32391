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
    # one that is replaced has a new address. gRPC alone would leave half a minute between looks.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # While a call waits, a gateway that has vanished without a word is noticed in ten seconds.
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
)
_REST_SECONDS = 1.0
"""For how long one that failed is asked only where all have."""
_READY, _ON_THE_WAY, _AWAY = range(3)


class Gateway:
    """One address, dialled when it is first asked."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.address = address
        self.rests_until = 0.0
        self._credentials = credentials
        self._channel: aio.Channel | None = None

    @property
    def stub(self) -> gateway_pb2_grpc.GatewayServiceAsyncStub:
        """Its methods."""
        return gateway_pb2_grpc.GatewayServiceStub(self._dialled())

    def standing(self) -> int:
        """Return how near its connection is, the nearest first; one that is not there is begun."""
        state = self._dialled().get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return _READY
        return _AWAY if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE else _ON_THE_WAY

    async def close(self) -> None:
        """Close the connection and cancel what still runs on it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _dialled(self) -> aio.Channel:
        if self._channel is None:
            proxied = ("grpc.enable_http_proxy", 0 if self._is_here() else 1)
            options: list[tuple[str, Any]] = [*_CHANNEL_OPTIONS, proxied]
            if self._credentials is None:
                self._channel = aio.insecure_channel(self.address, options=options)
            else:
                self._channel = aio.secure_channel(self.address, self._credentials, options=options)
        return self._channel

    def _is_here(self) -> bool:
        """Whether the gateway is on this machine, where no proxy leads to."""
        host = self.address.rpartition(":")[0].strip("[]")
        return host in ("localhost", "::1") or host.startswith("127.")


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
