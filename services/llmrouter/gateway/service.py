"""Composes the gateway from its settings."""

from __future__ import annotations

from pathlib import Path

from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.pipeline import build_embedding, build_pipeline, observers_of
from llmrouter.gateway.servicer import GatewayServicer
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1.gateway_pb2_grpc import add_GatewayServiceServicer_to_server

__all__ = ["PROGRAM", "build"]


async def build(
    settings: GatewaySettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; it reaches the others through `dialler`."""
    selector = dialler.channel(settings.selector_address)
    cache = dialler.channel(settings.cache_address)
    pipeline = build_pipeline(settings, selector, cache, dialler, telemetry)
    servicer = GatewayServicer(
        pipeline,
        build_embedding(settings, selector, dialler, telemetry),
        SelectorClient(selector, settings.selector_timeout_seconds),
        settings,
        observers_of(telemetry),
    )
    return Service(
        name="gateway",
        grpc_name="llmrouter.v1.GatewayService",
        register=lambda server: add_GatewayServiceServicer_to_server(servicer, server),
        host=settings.host,
        port=settings.port,
        drain_grace_seconds=settings.drain_grace_seconds,
    )


PROGRAM = Program("gateway", GatewaySettings, build)
