"""Composes the gateway from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Service
from llmrouter.common.profile_servicer import PROFILE_SERVICE, add_to
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.http.opening import http_door
from llmrouter.gateway.identity.desk import Desk
from llmrouter.gateway.ledger.opening import open_ledger
from llmrouter.gateway.limits.opening import Limits
from llmrouter.gateway.live.live_page import LivePage
from llmrouter.gateway.measuring import budget_listeners
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.neighbours import neighbours_of
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline, observers_of
from llmrouter.gateway.profiling import GuardedProfiler
from llmrouter.gateway.readings import readings
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.safety.safeguard import SafeEmbedder
from llmrouter.gateway.servicer import GatewayServicer
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.versions import VersionWatch
from llmrouter.gateway.watching import CacheWatch
from llmrouter.v1.gateway_pb2_grpc import add_GatewayServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def build(
    settings: GatewaySettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; it reaches the others through `dialler`."""
    neighbours = neighbours_of(settings, dialler, telemetry)
    selector, cache = neighbours.selector, neighbours.cache
    versions = VersionWatch(selector, cache)
    desk = Desk(settings.identity, data)
    limits = Limits(settings.limits, data, desk.audit, budget_listeners(telemetry))
    ledger = open_ledger(settings.ledger, data)
    page = _page(settings, dialler, limits)
    recent = () if page is None else (page.recent,)
    observers = (*observers_of(telemetry), *(() if ledger is None else (ledger,)), *recent)
    shared = Shared(
        near=NearCache(settings.cache_memory_max_bytes), serves=versions.serves,
        policy=Policy(settings.safety), limiter=limits.limiter, observers=observers,
    )  # fmt: skip
    watch = CacheWatch(cache, shared.near, shared.savings)
    pipeline = build_pipeline(settings, neighbours, shared, telemetry)
    vectors = build_embedding(neighbours, limits.limiter, observers)
    embedder = SafeEmbedder(vectors, shared.policy, telemetry.meter)
    servicer = GatewayServicer(
        pipeline.generator, embedder, selector, desk.identity, settings, observers,
        telemetry.tracer,
    )  # fmt: skip
    profiler = GuardedProfiler(settings, dialler, selector, desk.identity, desk.audit)
    kept = [one for one in (desk, limits, ledger) if one is not None]

    async def start() -> None:
        for one in (*kept, watch, versions):
            await one.start()

    async def close() -> None:
        for one in (versions, pipeline, watch, *reversed(kept)):
            await one.close()

    return Service(
        name="gateway",
        grpc_name="llmrouter.v1.GatewayService",
        beside=(PROFILE_SERVICE,), register=lambda server: _register(server, servicer, profiler),
        host=settings.host, port=settings.port, listening=settings,
        door=http_door(
            pipeline.generator, embedder, selector.listing, desk.identity, settings,
            observers, lambda: limits.trouble, page,
        ),
        start=start, stopping=(lambda: None) if page is None else page.feed.stop, close=close,
        parts={"limits": lambda: not limits.trouble},
        readings=lambda: readings(shared.near, limits.limiter),
        drain_grace_seconds=settings.drain_grace_seconds,
    )  # fmt: skip


def _register(server: Any, servicer: GatewayServicer, profiler: GuardedProfiler) -> None:
    add_GatewayServiceServicer_to_server(servicer, server)
    add_to(profiler, server)


def _page(settings: GatewaySettings, dialler: Dialler, limits: Limits) -> LivePage | None:
    if settings.http_port is None or not settings.page.enabled:
        return None
    return LivePage(settings, dialler, limits)


PROGRAM = Program("gateway", GatewaySettings, build)
