"""Composes the inference service from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.hosting import Service
from llmrouter.common.settings import read_variable
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.backends.free_memory import keep_together
from llmrouter.inference.cpu_meter import CpuMeter
from llmrouter.inference.load_reports import LoadReporter
from llmrouter.inference.model_options import backend_options
from llmrouter.inference.model_servicer import ModelServicer
from llmrouter.inference.models.lifecycle import ResidencyOptions
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.memory_reader import MemoryReader
from llmrouter.inference.models.opening import find_backend
from llmrouter.inference.models.pressure import Thresholds
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.strangers import strangers
from llmrouter.inference.models.versions import is_key, key_of
from llmrouter.inference.observing import GenerationObserver
from llmrouter.inference.readings import readings
from llmrouter.inference.recording import EngineSteps
from llmrouter.inference.remote.models import RemoteModels, open_providers
from llmrouter.inference.servicer import InferenceServicer
from llmrouter.inference.settings import InferenceSettings
from llmrouter.inference.upkeep import Upkeep
from llmrouter.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from llmrouter.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from llmrouter.v1.orca_pb2_grpc import add_OpenRcaServiceServicer_to_server

__all__ = ["PROGRAM", "build"]

_BESIDE = ("llmrouter.v1.ModelService", "xds.service.orca.v3.OpenRcaService")
_log = structlog.get_logger("llmrouter.inference")


async def build(
    settings: InferenceSettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; models load when it starts.

    Args:
        settings: The `inference` section.
        dialler: Not needed: inference calls nobody.
        data: The data directory, for the default store.
        telemetry: What generations are measured and traced with.

    Raises:
        RouterError: The backend, a model to load or the store that is named is not there.
    """
    store = _store(settings, data)
    reader = MemoryReader()
    registry = _registry(settings, store, reader.limit())
    remote = _remote(settings, registry)
    monitor = MemoryMonitor(reader.read, _thresholds(settings), registry.relieve)
    upkeep = Upkeep(registry.lifecycle, monitor)

    async def start() -> None:
        await _tidy(store)
        await registry.start(settings.models, now=settings.loading == "start")
        upkeep.start(settings.sweep_seconds, settings.memory_check_seconds)
        if not (registry.ready or any(remote)):
            _warn_of_no_model(store, named=settings.store is not None)

    async def close() -> None:
        for one in (upkeep, registry, remote):
            await one.close()

    cpu = CpuMeter(settings.threads or available_cores())
    servicer = InferenceServicer(registry, remote, settings.max_tokens, _observer(telemetry))
    models = ModelServicer(registry, remote, monitor, cpu)
    reporter = LoadReporter(registry, remote, monitor, cpu)
    return Service(
        name="inference",
        grpc_name="llmrouter.v1.InferenceService", beside=_BESIDE,
        register=lambda server: _register(server, servicer, models, reporter),
        host=settings.host, port=settings.port, listening=settings,
        start=start,
        stopping=registry.changes.end,
        close=close,
        answers_early=True,
        ready=lambda: registry.ready or any(remote),
        engines=EngineSteps(registry),
        readings=lambda: readings(registry, monitor, cpu),
        drain_grace_seconds=settings.drain_grace_seconds,
    )  # fmt: skip


async def _tidy(store: Path) -> None:
    """Put back what a killed import moved aside, and tell which folders are no models."""
    await asyncio.to_thread(ModelStore(store).recover)
    for folder, why in (await asyncio.to_thread(strangers, store)).items():
        _log.warning("a folder of the store is no model", folder=folder, why=why)


def _register(
    server: Any, servicer: InferenceServicer, models: ModelServicer, reporter: LoadReporter
) -> None:
    add_InferenceServiceServicer_to_server(servicer, server)
    add_ModelServiceServicer_to_server(models, server)
    add_OpenRcaServiceServicer_to_server(reporter, server)


def _observer(telemetry: Telemetry) -> GenerationObserver | None:
    if telemetry.tracer is None and telemetry.meter is None:
        return None
    return GenerationObserver(telemetry.tracer, telemetry.meter)


def _store(settings: InferenceSettings, data: Path) -> Path:
    """Return the folder of models.

    The default one need not be there before the first model is pulled; one that was named and is
    not there is misspelt, or not mounted.
    """
    if settings.store is None:
        return data / "models"
    if not settings.store.is_dir():
        raise invalid(
            "inference.store",
            f"{settings.store} is not a folder; name one that is, or make it by `llmrouter models "
            f"pull NAME --store {settings.store}`",
        )
    return settings.store


def _registry(settings: InferenceSettings, store: Path, limit: int | None) -> ModelRegistry:
    keep_together()  # before any model is loaded
    budget = (settings.memory_mib << 20) or int((limit or 0) * settings.memory_critical)
    registry = ModelRegistry(
        store,
        find_backend(settings.backend),
        backend_options(settings, store, budget),
        residency=_residency(settings, budget),
        pinned=settings.pinned,
    )
    _check_names("models", settings.models or (), registry, store)
    _check_names("pinned", settings.pinned, registry, store)
    return registry


def _check_names(field: str, wanted: Sequence[str], registry: ModelRegistry, store: Path) -> None:
    """Refuse a name that the store does not have: it is misspelt, or the store is another one.

    A folder that is there but broken fails alone when it is loaded.

    Raises:
        RouterError: UNKNOWN_MODEL naming the models there are.
    """
    names = registry.shelf.names_in_store()
    known = {*names, *(key_of(name).name for name in names)}
    missing = [
        name
        for name in wanted
        if name not in known and not (is_key(name) and (store / name).is_dir())
    ]
    if missing:
        there = ", ".join(names) or "none"
        raise RouterError(
            Reason.UNKNOWN_MODEL,
            f"inference.{field} names {', '.join(missing)}, which {store} does not have; there "
            f"are: {there}",
        )


def _warn_of_no_model(store: Path, *, named: bool) -> None:
    where = f" --store {store}" if named else ""
    remedy = f"llmrouter models pull smollm2-135m-instruct{where}, then models load"
    _log.warning("no model is ready", store=str(store), remedy=remedy)


def _remote(settings: InferenceSettings, registry: ModelRegistry) -> RemoteModels:
    remote = open_providers(settings.providers, read_variable)
    stored = {key_of(name).name for name in registry.shelf.names_in_store()}
    twice = [model.name for model in remote if model.name in stored]
    if twice:
        told = f"name {', '.join(twice)}, which the store has too; rename one"
        raise invalid("inference.providers", told)
    return remote


def _residency(settings: InferenceSettings, budget: int) -> ResidencyOptions:
    return ResidencyOptions(
        memory_bytes=budget,
        idle_seconds=settings.idle_seconds,
        notice_seconds=settings.notice_seconds,
        drain_seconds=settings.unload_grace_seconds,
        load_seconds=settings.load_seconds,
        max_waiting=settings.max_waiting,
    )


def _thresholds(settings: InferenceSettings) -> Thresholds:
    return Thresholds(
        warning=settings.memory_warning,
        critical=settings.memory_critical,
        emergency=settings.memory_emergency,
    )


PROGRAM = Program("inference", InferenceSettings, build)
