"""Channels to other services by address: sockets, or servicers of this very process."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from grpc import aio

from llmrouter.common.addresses import is_name
from llmrouter.common.renewing import RenewingChannel
from llmrouter.common.tls import ClientTls, CredentialFiles

__all__ = ["Dialler"]

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            # What changes nothing when asked twice is asked again: of another selector, where
            # there is one.
            "name": [
                {"service": "llmrouter.v1.SelectorService", "method": method}
                for method in ("Select", "ReportOutcome", "ListVersions", "ListCatalog")
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS = (
    # Services reach each other directly; a proxy set for the outside world is not meant for them.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 8 << 20),
    # A service that comes back is found within half a second; one that is far away and silent is
    # given up after two: gRPC's own figures are two minutes and twenty seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2000),
    # What a stream's reader has not taken yet waits at its sender, who merges it and pauses, and
    # not here: gRPC would let megabytes of it come.
    ("grpc.http2.lookahead_bytes", 8 << 10),
    ("grpc.http2.bdp_probe", 0),
    # A name may stand for several replicas: calls go to all of them in turn, and after a lost
    # connection the name is looked up again soon, for a replica that is back has a new address
    # (`renewing.py` where there was none for a while).
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.dns_min_time_between_resolutions_ms", 100),
    # A host that has vanished without a word - its network is cut, its power gone - is noticed
    # within five seconds, whether calls run or not; TCP alone would take a quarter of an hour.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2500),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_MAX_PASSING = 1024
_GRACE_SECONDS = 3600.0
"""What calls on a channel that is let go have left; longer than answers are waited for."""


class Dialler:
    """Keeps one channel per address.

    Args:
        local: Channels that stand for addresses served by this process.
        tls: How the others are dialled; None dials without TLS.
        place: Where the settings say so, for errors.
        around: Puts something around every channel to another service, or hands it back as it is.

    Raises:
        ConfigError: The files of TLS cannot be used.
    """

    def __init__(
        self,
        local: Mapping[str, Any] | None = None,
        tls: ClientTls | None = None,
        place: str = "dial_tls",
        around: Callable[[Any], Any] = lambda channel: channel,
    ) -> None:
        self._around = around
        self._local = dict(local or {})
        self._files = None if tls is None else CredentialFiles(place, tls)
        self._lasting: dict[str, Any] = {}
        self._passing: OrderedDict[str, Any] = OrderedDict()
        self._let_go: dict[asyncio.Future[None], Any] = {}

    def channel(self, address: str) -> Any:
        """Return the channel to a `host:port` of the configuration; it lasts and may be kept."""
        if address in self._local:
            return self._local[address]
        if address not in self._lasting:
            self._lasting[address] = self._around(self._dial(address))
        return self._lasting[address]

    def passing(self, address: str) -> Any:
        """Return the channel to a `host:port` that a plan names, for one call.

        Past a bound the one that was not asked for the longest is closed, once its calls have had
        time to end.
        """
        if address in self._local or address in self._lasting:
            return self.channel(address)
        if address not in self._passing:
            if len(self._passing) >= _MAX_PASSING:
                self._close_later(self._passing.popitem(last=False)[1])
            self._passing[address] = self._around(self._dial(address))
        self._passing.move_to_end(address)
        return self._passing[address]

    def _dial(self, address: str) -> Any:
        if self._files is None and not is_name(address):
            return aio.insecure_channel(address, options=_OPTIONS)
        return RenewingChannel(address, self._files, _OPTIONS)

    def add_local(self, address: str, channel: Any) -> None:
        """Let `channel` stand for `address`."""
        self._local[address] = self._around(channel)

    async def close(self) -> None:
        """Close every channel at once."""
        for closing in self._let_go:
            closing.cancel()
        await asyncio.gather(*self._let_go, return_exceptions=True)
        channels = [*self._lasting.values(), *self._passing.values(), *self._let_go.values()]
        self._lasting.clear()
        self._passing.clear()
        self._let_go.clear()
        await asyncio.gather(*(channel.close() for channel in channels))

    def _close_later(self, channel: Any) -> None:
        closing = asyncio.ensure_future(channel.close(_GRACE_SECONDS))
        self._let_go[closing] = channel
        closing.add_done_callback(self._closed)

    def _closed(self, closing: asyncio.Future[None]) -> None:
        if not closing.cancelled():  # else `close` wants its channel still
            self._let_go.pop(closing, None)
