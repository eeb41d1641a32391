"""One service hosted: its port, its in-process channel, its start and its drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from llmrouter.common.addresses import address_of
from llmrouter.common.guard import Gate
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.listening import Listening
from llmrouter.common.profile_servicer import PROFILE_SERVICE, ProfileServicer, add_to
from llmrouter.common.profiling.profiler import Profiler, StepSource
from llmrouter.common.server import ServiceServer, until_signalled
from llmrouter.common.telemetry.metering import Source
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry

__all__ = ["Door", "Hosted", "Service", "run_until_signalled"]

_LOOK_SECONDS = 0.5
"""How often parts are asked how they are."""
_log = structlog.get_logger("llmrouter.hosting")


async def _nothing() -> None:
    """Stand for a start or close that has nothing to do."""


class Door(Protocol):
    """Another way into a service, beside gRPC: bound, opened, drained and closed with it."""

    async def bind(self) -> str:
        """Take its port and return `host:port`.

        Raises:
            ConfigError: The port is in use.
        """
        ...

    async def open(self) -> None:
        """Let calls in."""
        ...

    async def close(self) -> None:
        """Let go of the connections that are left."""
        ...


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
    listening: Listening = field(default_factory=Listening)
    """What else its settings say of its port."""
    beside: tuple[str, ...] = ()
    """Full names of other gRPC services that `register` adds."""
    door: Callable[[Gate], Door] | None = None
    """Makes its other door, whose calls the gate counts as well."""
    start: Callable[[], Awaitable[None]] = _nothing
    """Does what must be done before it is ready, such as loading models."""
    answers_early: bool = False
    """Whether calls are answered while it starts; else they wait until it has."""
    stopping: Callable[[], None] = lambda: None
    """Ends the streams that would never end by themselves, before the drain waits for calls."""
    close: Callable[[], Awaitable[None]] = _nothing
    """Frees what it holds, after the last call."""
    ready: Callable[[], bool] = lambda: True
    """Whether requests are welcome once started."""
    parts: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """Whether parts of it are well; health says so under these names."""
    engines: StepSource | None = None
    """Whose steps a profile of it records too."""
    readings: Source | None = None
    """Reads what metrics show of it."""
    drain_grace_seconds: float = 5.0
    """How long running calls may finish once a signal came."""


def profiled(service: Service) -> tuple[Callable[[Any], None], tuple[str, ...]]:
    """Return what registers a service with its profiler, and the names of all that is offered.

    One that names the profiler itself has another in front of it: the gateway asks who calls.
    """
    names = (service.grpc_name, *service.beside)
    if PROFILE_SERVICE in names:
        return service.register, names
    servicer = ProfileServicer(Profiler(service.name, service.engines))

    def register(server: Any) -> None:
        service.register(server)
        add_to(servicer, server)

    return register, (*names, PROFILE_SERVICE)


class Hosted:
    """A service on a real port and, for neighbours in this process, on a channel without one."""

    def __init__(self, service: Service, telemetry: Telemetry = SILENT) -> None:
        calls = telemetry.calls(service.name)
        gate = self._gate = Gate(service.name, calls)
        if not service.answers_early:
            gate.hold()
        inside = InProcessServer(gate)
        register, names = profiled(service)
        register(inside)
        self.service = service
        self.channel = InProcessChannel(inside)
        self.address = ""
        self.door_address = ""
        """Of its other door; empty where it has none."""
        self._door = service.door(gate) if service.door is not None else None
        self._server = ServiceServer(service.name, names, register, gate, service.listening)
        sources = (service.readings, None if calls is None else calls.readings)
        self._sources = [source for source in sources if source is not None]
        self._telemetry = telemetry
        self._unobserve: Callable[[], None] = lambda: None
        self._telling: asyncio.Task[None] | None = None

    async def bind(self) -> str:
        """Listen, not ready yet; return `host:port`.

        Raises:
            ConfigError: The port is in use.
        """
        port = await self._server.start(self.service.host, self.service.port)
        self.address = address_of(self.service.host, port)
        if self._door is not None:
            self.door_address = await self._door.bind()
        return self.address

    async def start(self) -> None:
        """Start the service and say over health whether it is ready."""
        await self.service.start()
        self._gate.begin()
        if self._door is not None:
            await self._door.open()
        self._unobserve = self._telemetry.observe(*self._sources)
        await self._server.set_ready(self.service.ready())
        if self.service.parts:
            self._telling = asyncio.create_task(self._tell_parts(), name="health of parts")
        doors = {"http": self.door_address} if self.door_address else {}
        _log.info("serving", service=self.service.name, address=self.address, **doors)

    async def stop(self, grace: float | None = None) -> None:
        """Drain, then free everything."""
        self._gate.closed = True
        self._gate.begin()
        self._unobserve()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        self.service.stopping()
        await self._server.drain(self.service.drain_grace_seconds if grace is None else grace)
        if self._door is not None:
            await self._door.close()
        await self.service.close()

    async def _tell_parts(self) -> None:
        told: dict[str, bool] = {}
        while True:
            for name, look in self.service.parts.items():
                well = look()
                if told.get(name) is not well:
                    told[name] = well
                    await self._server.set_part(name, well)
            await asyncio.sleep(_LOOK_SECONDS)


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
