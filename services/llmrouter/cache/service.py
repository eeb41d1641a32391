"""Composes the cache from its settings."""

from __future__ import annotations

from pathlib import Path

from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers
from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Service
from llmrouter.common.settings import parse
from llmrouter.common.standalone import Program
from llmrouter.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def build(settings: CacheSettings, dialler: Dialler, data: Path) -> Service:
    """Return the service; answers go to `answers` in the data directory unless set otherwise."""
    if settings.disk_path is None and "disk_path" not in settings.model_fields_set:
        settings = _on_disk(settings, data / "answers")
    tiers = await open_tiers(settings)
    servicer = CacheServicer(settings, tiers)
    return Service(
        name="cache",
        grpc_name="llmrouter.v1.CacheService",
        register=lambda server: add_CacheServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        close=tiers.close,
        drain_grace_seconds=settings.drain_grace_seconds,
    )


def _on_disk(settings: CacheSettings, path: Path) -> CacheSettings:
    """Return the settings with a disk store, checked as if it had been asked for.

    Raises:
        ConfigError: The largest answer does not fit the store.
    """
    given = settings.model_dump(exclude_unset=True)
    return parse(CacheSettings, {**given, "disk_path": path}, "cache")


PROGRAM = Program("cache", CacheSettings, build)
