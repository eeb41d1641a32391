"""Composes the inference service from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.registry import LoadState, ModelRegistry, find_backend
from llmrouter.inference.servicer import InferenceServicer
from llmrouter.inference.settings import InferenceSettings
from llmrouter.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server

__all__ = ["PROGRAM", "build"]

_log = structlog.get_logger("llmrouter.inference")


async def build(settings: InferenceSettings, dialler: Dialler, data: Path) -> Service:
    """Return the service; models load when it starts.

    Args:
        settings: The `inference` section.
        dialler: Not needed: inference calls nobody.
        data: The data directory, for the default store.

    Raises:
        RouterError: The backend's name is unknown, or that of a model to load; the store that the
            settings name is not there.
    """
    store = _store(settings, data)
    registry = ModelRegistry(store, find_backend(settings.backend), _options(settings))
    _check_names(settings.models or (), registry, store)

    def ready() -> bool:
        return any(model.state is LoadState.READY for model in registry.models)

    async def start() -> None:
        names = settings.models if settings.models is not None else registry.names_in_store()
        await registry.load(names)
        if not ready():
            _log.warning(
                "no model is ready",
                store=str(store),
                remedy="llmrouter models pull smollm2-135m-instruct, then start again",
            )

    servicer = InferenceServicer(registry, settings.max_tokens)
    return Service(
        name="inference",
        grpc_name="llmrouter.v1.InferenceService",
        register=lambda server: add_InferenceServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        start=start,
        close=registry.close,
        ready=ready,
        drain_grace_seconds=settings.drain_grace_seconds,
    )


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


def _check_names(wanted: Sequence[str], registry: ModelRegistry, store: Path) -> None:
    """Refuse a name that the store does not have: it is misspelt, or the store is another one.

    A folder that is there but broken fails alone when it is loaded.

    Raises:
        RouterError: UNKNOWN_MODEL naming the models there are.
    """
    missing = [name for name in wanted if not (store / name).is_dir()]
    if missing:
        there = ", ".join(registry.names_in_store()) or "none"
        raise RouterError(
            Reason.UNKNOWN_MODEL,
            f"inference.models names {', '.join(missing)}, which {store} does not have; there are: "
            f"{there}",
        )


def _options(settings: InferenceSettings) -> BackendOptions:
    return BackendOptions(
        threads=settings.threads,
        slots=settings.slots,
        context=settings.context,
        max_waiting=settings.max_waiting,
        prefill_chunk=settings.prefill_chunk,
        cache_type=settings.cache_type,
        cache_bytes=settings.cache_mib << 20,
        prefix_bytes=settings.prefix_cache_mib << 20,
        share_prefixes=settings.prefix_sharing == "all",
        parked_bytes=settings.parked_cache_mib << 20,
        ageing_seconds=settings.priority_ageing_seconds,
        device=settings.device,
        kernels=settings.kernels,
        speculation_tokens=0 if settings.speculation == "off" else settings.speculation_tokens,
        speculation_always=settings.speculation == "always",
        batch_size=settings.batch_size,
        batch_window_seconds=settings.batch_window_seconds,
        batch_padding=settings.batch_padding,
    )


PROGRAM = Program("inference", InferenceSettings, build)
