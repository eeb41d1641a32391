"""One service hosted: its port, its in-process channel, its start and its drain."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from llmrouter.common.addresses import address_of
from llmrouter.common.guard import Gate
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.server import ServiceServer, until_signalled
from llmrouter.common.telemetry.metering import Source
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry

__all__ = ["Hosted", "Service", "run_until_signalled"]

_log = structlog.get_logger("llmrouter.hosting")


async def _nothing() -> None:
    """Stand for a start or close that has nothing to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """What hosting must know of a service."""

    name: str
    """`gateway`, `selector`, `cache` or `inference`."""
    grpc_name: str
    """Full name of its gRPC service."""
    register: Callable[[Any], None]
    """Adds its servicer to a server."""
    host: str
    port: int
    beside: tuple[str, ...] = ()
    """Full names of other gRPC services that `register` adds."""
    start: Callable[[], Awaitable[None]] = _nothing
    """Does what must be done before it is ready, such as loading models."""
    stopping: Callable[[], None] = lambda: None
    """Ends the streams that would never end by themselves, before the drain waits for calls."""
    close: Callable[[], Awaitable[None]] = _nothing
    """Frees what it holds, after the last call."""
    ready: Callable[[], bool] = lambda: True
    """Whether requests are welcome once started."""
    readings: Source | None = None
    """Reads what metrics show of it."""
    drain_grace_seconds: float = 5.0
    """How long running calls may finish once a signal came."""


class Hosted:
    """A service on a real port and, for neighbours in this process, on a channel without one."""

    def __init__(self, service: Service, telemetry: Telemetry = SILENT) -> None:
        calls = telemetry.calls(service.name)
        gate = Gate(service.name, calls)
        inside = InProcessServer(gate)
        service.register(inside)
        self.service = service
        self.channel = InProcessChannel(inside)
        self.address = ""
        names = (service.grpc_name, *service.beside)
        self._server = ServiceServer(service.name, names, service.register, gate)
        sources = (service.readings, None if calls is None else calls.readings)
        self._sources = [source for source in sources if source is not None]
        self._telemetry = telemetry
        self._unobserve: Callable[[], None] = lambda: None

    async def bind(self) -> str:
        """Listen, not ready yet; return `host:port`.

        Raises:
            ConfigError: The port is in use.
        """
        port = await self._server.start(self.service.host, self.service.port)
        self.address = address_of(self.service.host, port)
        return self.address

    async def start(self) -> None:
        """Start the service and say over health whether it is ready."""
        await self.service.start()
        self._unobserve = self._telemetry.observe(*self._sources)
        await self._server.set_ready(self.service.ready())
        _log.info("serving", service=self.service.name, address=self.address)

    async def stop(self, grace: float | None = None) -> None:
        """Drain, then free everything."""
        self._unobserve()
        self.service.stopping()
        await self._server.drain(self.service.drain_grace_seconds if grace is None else grace)
        await self.service.close()


@contextlib.asynccontextmanager
async def _hosted(service: Service, telemetry: Telemetry) -> AsyncIterator[Hosted]:
    hosted = Hosted(service, telemetry)
    try:
        await hosted.bind()
        await hosted.start()
        yield hosted
    finally:
        await hosted.stop()


async def run_until_signalled(service: Service, telemetry: Telemetry = SILENT) -> None:
    """Host one service until SIGTERM or SIGINT, then drain it."""
    await until_signalled(_hosted(service, telemetry))
