"""Composes the cache from its settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from llmrouter.cache.readings import readings
from llmrouter.cache.semantic.answers import SimilarQuestions
from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings, SharedSettings
from llmrouter.cache.tiers import Tiers, open_tiers, steady_clock
from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import RouterError
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def _nothing() -> None:
    pass


async def build(
    settings: CacheSettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; answers go to `answers` in the data directory unless set otherwise.

    Raises:
        RouterError: STORE_FAILED when the folder of answers cannot be used, with the remedy.
    """
    folder = settings.disk_path or data / "answers"
    questions = folder.with_name(f"{folder.name}-similar")
    similar = SimilarQuestions(questions, settings.similar_max_entries)
    if settings.shared is not None:
        return _sharing(settings, settings.shared, similar)
    answers = folder if settings.disk_max_bytes else None
    try:
        tiers, invalidations = await open_tiers(settings, answers, steady_clock())
    except RouterError as error:
        remedy = (
            "set cache.disk_path to a folder that can be written, or cache.disk_max_bytes to 0 to "
            "keep answers in memory only"
        )
        raise RouterError(error.reason, f"{error.message}; {remedy}") from error
    servicer = CacheServicer(settings, tiers, invalidations, similar=similar)

    async def close() -> None:
        await tiers.close()
        await similar.close()

    return _service(settings, servicer, tiers, close=close)


def _sharing(settings: CacheSettings, shared: SharedSettings, similar: SimilarQuestions) -> Service:
    from llmrouter.cache.sharing import open_shared

    made = open_shared(settings, shared, steady_clock())
    servicer = CacheServicer(settings, made.tiers, made.invalidations, made.claims, similar)

    async def close() -> None:
        await made.following.close()
        await made.tiers.close()
        await similar.close()

    return _service(settings, servicer, made.tiers, start=made.following.start, close=close)


def _service(
    settings: CacheSettings,
    servicer: CacheServicer,
    tiers: Tiers,
    *,
    start: Callable[[], Awaitable[None]] = _nothing,
    close: Callable[[], Awaitable[None]],
) -> Service:
    return Service(
        name="cache",
        grpc_name="llmrouter.v1.CacheService",
        register=lambda server: add_CacheServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        stopping=servicer.stop_waiting,
        listening=settings,
        start=start,
        close=close,
        readings=lambda: readings(tiers),
        drain_grace_seconds=settings.drain_grace_seconds,
    )


PROGRAM = Program("cache", CacheSettings, build)
