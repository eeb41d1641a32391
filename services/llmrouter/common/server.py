"""Starting, watching and draining one gRPC service: the same for all four."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from llmrouter.common.addresses import address_of
from llmrouter.common.ageing import AgeingInterceptor
from llmrouter.common.credentials import server_credentials
from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.listening import Listening
from llmrouter.common.packing import PackingInterceptor
from llmrouter.common.settings import ConfigError

__all__ = ["LIVENESS", "OPTIONS", "ServiceServer", "until_signalled", "why_unbound"]

_MAX_MESSAGE_BYTES = 8 << 20
LIVENESS = "liveness"
"""Health of this name is SERVING as long as the process answers at all, be it ready or draining."""
_log = structlog.get_logger("llmrouter.server")

_Status = health_pb2.HealthCheckResponse.ServingStatus

OPTIONS = (
    # A second process on the same port is a mistake to be told, not half of the traffic to lose.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 4096),
    # Of TLS and HTTP/2 together; by default who says nothing may take up a connection for two
    # minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Callers may ask as often as they like whether it is still there: by default one that asks more
    # than every five minutes loses its connection. What runs for a caller that has vanished without
    # a word ends within half a minute.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class ServiceServer:
    """One service on one port, with health, reflection and a drain that loses no stream."""

    def __init__(
        self,
        name: str,
        served: tuple[str, ...],
        register: Callable[[Any], None],
        gate: Gate,
        listening: Listening,
    ) -> None:
        self._name = name
        self._served = served
        self._gate = gate
        self._listening = listening
        # Without a grace: calls that run on an old connection finish, however long they take.
        age = ("grpc.max_connection_age_ms", int(listening.connection_age_seconds * 1000))
        # gRPC lets go of nobody to make room: those beyond are closed before they have said a word.
        most = ("grpc.max_allowed_incoming_connections", listening.connections)
        self._options = (*OPTIONS, most, age)
        self._ageing = AgeingInterceptor(listening.connection_age_seconds)
        around = [
            GuardInterceptor(gate, listening.patience),
            PackingInterceptor(listening.compress_from_bytes),
            self._ageing,
        ]
        self._server = aio.server(interceptors=around, options=self._options)
        self._health = health.aio.HealthServicer()
        self._probed: aio.Server | None = None
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*served, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; health says NOT_SERVING until `set_ready`. Port 0 takes a free one.

        Returns:
            The port bound.

        Raises:
            ConfigError: The address cannot be bound, or the files of TLS cannot be used.
        """
        tls = self._listening.tls
        credentials = None if tls is None else server_credentials(f"{self._name}.tls", tls)
        bound = self._bind(self._server, host, port, "port", credentials)
        await self._health.set(LIVENESS, _Status.SERVING)
        await self.set_ready(False)
        if self._listening.health_port is not None:
            self._probed = aio.server(interceptors=[self._ageing], options=self._options)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probed)
            self._bind(self._probed, host, self._listening.health_port, "health_port")
            await self._probed.start()
        await self._server.start()
        return bound

    def _bind(
        self,
        server: aio.Server,
        host: str,
        port: int,
        setting: str,
        credentials: grpc.ServerCredentials | None = None,
    ) -> int:
        address = address_of(host, port)
        try:
            if credentials is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise ConfigError(
                f"{self._name} cannot listen on {address}: "
                f"{why_unbound(self._name, host, port, setting)}"
            )
        return int(bound)

    async def set_ready(self, ready: bool) -> None:
        """Say over grpc.health.v1 whether requests are welcome."""
        value = _Status.SERVING if ready else _Status.NOT_SERVING
        for service in ("", *self._served):
            await self._health.set(service, value)

    async def set_part(self, name: str, well: bool) -> None:
        """Say over grpc.health.v1 how a part of the service is, under a name of its own."""
        await self._health.set(name, _Status.SERVING if well else _Status.NOT_SERVING)

    async def drain(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then stop."""
        self._gate.closed = True
        await self.set_ready(False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._gate.wait_idle()
        await self._server.stop(0 if self._gate.active else 0.5)
        if self._probed is not None:
            await self._probed.stop(0)


def why_unbound(name: str, host: str, port: int, setting: str = "port") -> str:
    """Return why an address cannot be listened on; gRPC does not tell, the system does.

    Args:
        name: The service.
        host: Its address.
        port: Its port.
        setting: The name of its setting for the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (socket.gaierror, UnicodeError):
        return f"{host!r} is no address and no known host; set {name}.host"
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; set {name}.host"
        if error.errno == errno.EACCES:
            return f"the system reserves ports this low; set {name}.{setting}"
    return f"the port is in use; stop what uses it or set {name}.{setting}"


async def until_signalled(hosted: AbstractAsyncContextManager[object]) -> None:
    """Enter `hosted`, wait for SIGTERM or SIGINT, and leave it, which drains.

    A signal while it is being entered gives the start up. A second signal ends the process at
    once. What goes wrong while entering is raised.
    """
    signalled = _signalled()
    async with contextlib.AsyncExitStack() as stack:
        starting = asyncio.ensure_future(stack.enter_async_context(hosted))
        waiting = asyncio.ensure_future(signalled.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        try:
            await starting
            await waiting
        finally:
            waiting.cancel()
        _log.info("draining")


def _signalled() -> asyncio.Event:
    """Return what the first SIGTERM or SIGINT sets; the second has its ordinary effect."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def first() -> None:
        signalled.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, first)
    return signalled
