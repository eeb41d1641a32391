"""The models of an inference service over gRPC: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from google.protobuf import duration_pb2

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.wire import seconds
from llmrouter.inference.cpu_meter import CpuMeter
from llmrouter.inference.models.held import HeldModel
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.remote.models import RemoteModels
from llmrouter.inference.wire_models import encode_memory, encode_model, encode_models
from llmrouter.v1 import model_pb2 as pb
from llmrouter.v1.model_pb2_grpc import ModelServiceServicer

__all__ = ["ModelServicer"]

_MAX_NAME_BYTES = 256
_MAX_VERSION_BYTES = 128
_MAX_ALIASES = 16
_DAY = 86_400.0
_PROGRESS_SECONDS = 1.0
"""How often a load is told of that does not change."""


class ModelServicer(ModelServiceServicer):
    """Lets the models of a registry be loaded, unloaded and followed."""

    def __init__(
        self, registry: ModelRegistry, remote: RemoteModels, monitor: MemoryMonitor, cpu: CpuMeter
    ) -> None:
        self._registry, self._remote, self._monitor, self._cpu = registry, remote, monitor, cpu
        self._tasks: set[asyncio.Task[HeldModel]] = set()

    async def Load(  # noqa: N802 - the RPC's name
        self, request: pb.ModelServiceLoadRequest, context: Any
    ) -> AsyncIterator[pb.ModelServiceLoadResponse]:
        """Load a version and move aliases to it; a caller that leaves cancels nothing."""
        _check(request.model, request.version)
        if len(request.aliases) > _MAX_ALIASES:
            raise invalid("aliases", f"{len(request.aliases)} given; at most {_MAX_ALIASES} may be")
        begun: list[HeldModel] = []
        loading = self._kept(
            self._registry.load(
                request.model,
                request.version,
                pin=request.pin,
                aliases=tuple(request.aliases),
                begun=begun.append,
            )
        )
        told, due, clock = None, 0.0, asyncio.get_running_loop().time
        while not loading.done():
            seen = self._registry.changes.count
            if begun and (begun[0].state is not told or clock() >= due):
                told, due = begun[0].state, clock() + _PROGRESS_SECONDS
                yield pb.ModelServiceLoadResponse(model=encode_model(begun[0], self._registry))
            changed = asyncio.ensure_future(self._registry.changes.after(seen, _PROGRESS_SECONDS))
            await asyncio.wait({loading, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        yield pb.ModelServiceLoadResponse(model=encode_model(await loading, self._registry))

    async def Unload(  # noqa: N802 - the RPC's name
        self, request: pb.ModelServiceUnloadRequest, context: Any
    ) -> pb.ModelServiceUnloadResponse:
        """Unload a version once what runs on it has finished; a caller that leaves ends nothing."""
        _check(request.model, request.version)
        grace = _bounded(request.grace, "grace", 0, _DAY) if request.HasField("grace") else None
        unloading = self._kept(self._registry.unload(request.model, request.version, grace))
        model = await asyncio.shield(unloading)
        return pb.ModelServiceUnloadResponse(model=encode_model(model, self._registry))

    async def List(  # noqa: N802 - the RPC's name
        self, request: pb.ModelServiceListRequest, context: Any
    ) -> pb.ModelServiceListResponse:
        """List every version in the store."""
        await self._begun(_PROGRESS_SECONDS)
        await self._registry.scan()
        return pb.ModelServiceListResponse(
            models=encode_models(self._registry, self._remote),
            memory=encode_memory(self._registry, self._monitor),
            cpu=self._cpu.share(),
        )

    async def Watch(  # noqa: N802 - the RPC's name
        self, request: pb.ModelServiceWatchRequest, context: Any
    ) -> AsyncIterator[pb.ModelServiceWatchResponse]:
        """Stream every version at once, after every change, and every interval."""
        interval = 1.0
        if request.HasField("interval"):
            interval = _bounded(request.interval, "interval", 0.01, 60.0)
        changes = self._registry.changes
        await self._begun(interval)
        while not changes.ended:
            seen = changes.count
            yield pb.ModelServiceWatchResponse(
                models=encode_models(self._registry, self._remote),
                memory=encode_memory(self._registry, self._monitor),
                cpu=self._cpu.share(),
            )
            await changes.after(seen, interval)
        raise RouterError(Reason.DRAINING, "inference is shutting down", retry_after=1.0)

    async def _begun(self, interval: float) -> None:
        """Wait until there is anything to tell: that nothing is there would be believed."""
        while not (self._registry.begun or self._registry.changes.ended):
            await self._registry.changes.after(self._registry.changes.count, interval)

    def _kept(self, work: Coroutine[Any, Any, HeldModel]) -> asyncio.Task[HeldModel]:
        """Begin what goes on when its caller leaves."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _check(model: str, version: str) -> None:
    if not model:
        raise invalid("model", "is empty; name a model")
    for name, value, most in (
        ("model", model, _MAX_NAME_BYTES),
        ("version", version, _MAX_VERSION_BYTES),
    ):
        if len(value.encode()) > most:
            raise invalid(name, f"is longer than {most} bytes")


def _bounded(value: duration_pb2.Duration, name: str, low: float, high: float) -> float:
    told = seconds(value)
    if not low <= told <= high:
        raise invalid(name, f"is {told:g} s; it must be {low:g} to {high:g} s")
    return told
