"""Composes the gateway from its settings."""

from __future__ import annotations

from pathlib import Path

from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.gateway.cache_client import CacheClient
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.http.opening import http_door
from llmrouter.gateway.identity.desk import Desk
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline
from llmrouter.gateway.servicer import GatewayServicer
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.versions import VersionWatch
from llmrouter.gateway.watching import CacheWatch
from llmrouter.v1.gateway_pb2_grpc import add_GatewayServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def build(settings: GatewaySettings, dialler: Dialler, data: Path) -> Service:
    """Return the service; it reaches the others through `dialler`."""
    selector = dialler.channel(settings.selector_address)
    cache = dialler.channel(settings.cache_address)
    selector_client = SelectorClient(selector, settings.selector_timeout_seconds)
    cache_client = CacheClient(cache, settings.cache_timeout_seconds)
    versions = VersionWatch(selector_client, cache_client)
    shared = Shared(NearCache(settings.cache_memory_max_bytes), versions.serves)
    watch = CacheWatch(cache_client, shared.near, shared.savings)
    pipeline = build_pipeline(settings, selector, cache, dialler, shared)
    embedder = build_embedding(settings, selector, dialler)
    desk = Desk(settings.identity, data)
    servicer = GatewayServicer(
        pipeline.generator, embedder, selector_client, desk.identity, settings
    )

    async def start() -> None:
        await desk.start()
        await watch.start()
        await versions.start()

    async def close() -> None:
        await versions.close()
        await pipeline.flights.close()
        await watch.close()
        await desk.close()

    return Service(
        name="gateway",
        grpc_name="llmrouter.v1.GatewayService",
        register=lambda server: add_GatewayServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        listening=settings,
        door=http_door(
            pipeline.generator, embedder, selector_client.listing, desk.identity, settings
        ),
        start=start,
        close=close,
        drain_grace_seconds=settings.drain_grace_seconds,
    )


PROGRAM = Program("gateway", GatewaySettings, build)
