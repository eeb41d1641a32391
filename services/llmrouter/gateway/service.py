"""Composes the gateway from its settings."""

from __future__ import annotations

from pathlib import Path

from llmrouter.common.dialling import Dialler
from llmrouter.common.guard import Gate
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.http.app import HttpApi
from llmrouter.gateway.http.door import HttpDoor
from llmrouter.gateway.identity.desk import Desk
from llmrouter.gateway.pipeline import build_embedding, build_pipeline
from llmrouter.gateway.servicer import GatewayServicer, shown_models
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1.gateway_pb2_grpc import add_GatewayServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def build(settings: GatewaySettings, dialler: Dialler, data: Path) -> Service:
    """Return the service; it reaches the others through `dialler`."""
    selector = dialler.channel(settings.selector_address)
    cache = dialler.channel(settings.cache_address)
    pipeline = build_pipeline(settings, selector, cache, dialler)
    embedder = build_embedding(settings, selector, dialler)
    catalog = SelectorClient(selector, settings.selector_timeout_seconds)
    desk = Desk(settings.identity, data)
    servicer = GatewayServicer(pipeline, embedder, catalog, desk.identity, settings)

    async def list_models(allowed: frozenset[str]) -> list[tuple[str, str]]:
        found = shown_models((await catalog.list_catalog()).models, allowed)
        return [(model.name, model.version) for model in found if model.addresses]

    def door(gate: Gate) -> HttpDoor:
        api = HttpApi(pipeline, embedder, list_models, desk.identity, settings, gate)
        return HttpDoor(api.app, settings)

    return Service(
        name="gateway",
        grpc_name="llmrouter.v1.GatewayService",
        register=lambda server: add_GatewayServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        door=None if settings.http_port is None else door,
        start=desk.start,
        close=desk.close,
        drain_grace_seconds=settings.drain_grace_seconds,
    )


PROGRAM = Program("gateway", GatewaySettings, build)
