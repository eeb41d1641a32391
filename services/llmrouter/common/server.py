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

import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from llmrouter.common.addresses import address_of
from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.settings import ConfigError

__all__ = ["OPTIONS", "ServiceServer", "until_signalled", "why_unbound"]

_MAX_MESSAGE_BYTES = 8 << 20
_log = structlog.get_logger("llmrouter.server")

OPTIONS = (
    # A second process on the same port is a mistake to be told, not half of the traffic to lose.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 4096),
)


class ServiceServer:
    """One service on one port, with health, reflection and a drain that loses no stream."""

    def __init__(
        self, name: str, served: tuple[str, ...], register: Callable[[Any], None], gate: Gate
    ) -> None:
        self._name = name
        self._served = served
        self._gate = gate
        self._server = aio.server(interceptors=[GuardInterceptor(gate)], options=OPTIONS)
        self._health = health.aio.HealthServicer()
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*served, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Bind and serve; health says NOT_SERVING until `set_ready`. Port 0 takes a free one.

        Returns:
            The port bound.

        Raises:
            ConfigError: The address cannot be bound.
        """
        try:
            bound = self._server.add_insecure_port(address_of(host, port))
        except RuntimeError:
            bound = 0
        if not bound:
            raise ConfigError(
                f"{self._name} cannot listen on {address_of(host, port)}: "
                f"{why_unbound(self._name, host, port)}"
            )
        await self.set_ready(False)
        await self._server.start()
        return int(bound)

    async def set_ready(self, ready: bool) -> None:
        """Say over grpc.health.v1 whether requests are welcome."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        value = status.SERVING if ready else status.NOT_SERVING
        for service in ("", *self._served):
            await self._health.set(service, value)

    async def drain(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then stop."""
        self._gate.closed = True
        await self.set_ready(False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._gate.wait_idle()
        await self._server.stop(0 if self._gate.active else 0.5)


def why_unbound(name: str, host: str, port: int, field: str = "port") -> str:
    """Return why an address cannot be listened on; gRPC does not tell, the system does.

    Args:
        name: The service.
        host: Its address.
        port: Its port.
        field: The setting of the port.
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
            return f"the system reserves ports this low; set {name}.{field}"
    return f"the port is in use; stop what uses it or set {name}.{field}"


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
