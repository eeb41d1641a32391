"""Composes the gateway from its settings."""

from __future__ import annotations

from pathlib import Path

from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.cache_client import CacheClient
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.http.opening import http_door
from llmrouter.gateway.identity.desk import Desk
from llmrouter.gateway.limits.opening import Limits
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline, observers_of
from llmrouter.gateway.readings import readings
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
    selector = dialler.channel(settings.selector_address)
    cache = dialler.channel(settings.cache_address)
    selector_client = SelectorClient(selector, settings.selector_timeout_seconds)
    cache_client = CacheClient(cache, settings.cache_timeout_seconds)
    versions = VersionWatch(selector_client, cache_client)
    desk = Desk(settings.identity, data)
    limits = Limits(settings.limits, data, desk.audit)
    near = NearCache(settings.cache_memory_max_bytes)
    shared = Shared(near, versions.serves, limiter=limits.limiter)
    watch = CacheWatch(cache_client, shared.near, shared.savings)
    pipeline = build_pipeline(settings, selector, cache, dialler, shared, telemetry)
    observers = observers_of(telemetry)
    embedder = build_embedding(settings, selector, dialler, limits.limiter, telemetry, observers)
    servicer = GatewayServicer(
        pipeline.generator, embedder, selector_client, desk.identity, settings, observers,
        telemetry.tracer,
    )  # fmt: skip

    async def start() -> None:
        for one in (desk, limits, watch, versions):
            await one.start()

    async def close() -> None:
        for one in (versions, pipeline.flights, watch, limits, desk):
            await one.close()

    return Service(
        name="gateway",
        grpc_name="llmrouter.v1.GatewayService",
        register=lambda server: add_GatewayServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        listening=settings,
        door=http_door(
            pipeline.generator,
            embedder,
            selector_client.listing,
            desk.identity,
            settings,
            observers,
        ),
        start=start,
        close=close,
        readings=lambda: readings(shared.near),
        drain_grace_seconds=settings.drain_grace_seconds,
    )


PROGRAM = Program("gateway", GatewaySettings, build)
