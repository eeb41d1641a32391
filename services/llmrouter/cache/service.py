"""Composes the cache from its settings."""

from __future__ import annotations

from pathlib import Path

from llmrouter.cache.readings import readings
from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers, steady_clock
from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import RouterError
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def build(
    settings: CacheSettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; answers go to `answers` in the data directory unless set otherwise.

    Raises:
        RouterError: STORE_FAILED when the folder of answers cannot be used, with the remedy.
    """
    answers = (settings.disk_path or data / "answers") if settings.disk_max_bytes else None
    try:
        tiers, invalidations = await open_tiers(settings, answers, steady_clock())
    except RouterError as error:
        remedy = (
            "set cache.disk_path to a folder that can be written, or cache.disk_max_bytes to 0 to "
            "keep answers in memory only"
        )
        raise RouterError(error.reason, f"{error.message}; {remedy}") from error
    servicer = CacheServicer(settings, tiers, invalidations)
    return Service(
        name="cache",
        grpc_name="llmrouter.v1.CacheService",
        register=lambda server: add_CacheServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        stopping=servicer.stop_waiting,
        listening=settings,
        close=tiers.close,
        readings=lambda: readings(tiers),
        drain_grace_seconds=settings.drain_grace_seconds,
    )


PROGRAM = Program("cache", CacheSettings, build)
