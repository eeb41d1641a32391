"""Checks of the configuration, the models and the services."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from grpc_health.v1 import health_pb2, health_pb2_grpc

from llmrouter.cli.calling import dialled
from llmrouter.cli.findings import Finding, State
from llmrouter.cli.places import Place
from llmrouter.common.addresses import address_of, reachable
from llmrouter.common.errors import RouterError
from llmrouter.common.overview import Overview
from llmrouter.common.settings import SERVICES, read_variable
from llmrouter.common.sizes import size_text
from llmrouter.v1 import model_pb2
from llmrouter.v1 import selector_pb2 as pb

if TYPE_CHECKING:
    from llmrouter.inference.models.store import ModelStore
    from llmrouter.suite import SuiteSettings

__all__ = ["check_ports", "check_running", "check_store", "check_telemetry"]

_SECONDS = 2.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_PULL = "llmrouter models pull smollm2-135m-instruct"


def check_store(store: ModelStore) -> Iterator[Finding]:
    """Look whether there are models, and whether each can be read."""
    names = store.names()
    if not names:
        yield Finding("models", State.WARNING, f"{store.root} has none", _PULL)
    size, broken = 0, False
    for name in names:
        try:
            size += store.model(name).size_bytes
        except RouterError as error:
            broken = True
            remedy = f"pull or import {name} again"
            yield Finding("models", State.FAILED, f"{name}: {error.message}", remedy)
    if names and not broken:
        said = f"{len(names)} in {store.root}, {size_text(size)}: {', '.join(names)}"
        yield Finding("models", State.OK, said)


async def check_ports(settings: SuiteSettings) -> list[Finding]:
    """Look who listens where the services are to listen."""
    looks = []
    for name in SERVICES:
        section = getattr(settings, name)
        if section.port:
            ciphered = section.tls is not None
            looks.append(_port(name, reachable(section.host), section.port, ciphered=ciphered))
    gateway, page = settings.gateway, settings.telemetry.prometheus
    if gateway.http_port:
        looks.append(_other("HTTP API", reachable(gateway.host), gateway.http_port))
    if page.enabled and page.port:
        looks.append(_other("metrics page", reachable(page.host), page.port))
    return list(await asyncio.gather(*looks))


async def _port(name: str, host: str, port: int, *, ciphered: bool) -> Finding:
    address = address_of(host, port)
    if not await _listens(host, port):
        return Finding(name, State.NOTE, f"not running; {address} is free", f"llmrouter {name}")
    place = Place(name, (address,), "the settings say", "--config")
    if ciphered and place.tls is None:
        said = f"something listens at {address}, where the settings want TLS"
        return Finding(name, State.NOTE, said, "name the CA to ask it: llmrouter --tls-ca … doctor")
    serving = await _is_serving(place)
    if serving is None:
        remedy = f"stop what it is, or set {name}.port"
        return Finding(name, State.FAILED, f"something else listens at {address}", remedy)
    if not serving:
        said = f"runs at {address} and is not ready"
        return Finding(name, State.WARNING, said, "its log says why; without a model: " + _PULL)
    return Finding(name, State.OK, f"serves at {address}")


async def _is_serving(place: Place) -> bool | None:
    """Return whether a service of ours is ready there; None where none is."""
    name = f"llmrouter.v1.{place.service.capitalize()}Service"
    try:
        async with dialled(place) as channel:
            request = health_pb2.HealthCheckRequest(service=name)
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=_SECONDS)
    except RouterError:
        return None
    return bool(answer.status == _SERVING)


async def _other(check: str, host: str, port: int) -> Finding:
    address = address_of(host, port)
    if await _listens(host, port):
        return Finding(check, State.OK, f"something listens at {address}")
    return Finding(check, State.NOTE, f"not running; {address} is free")


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def check_providers(settings: SuiteSettings) -> list[Finding]:
    """Look whether remote providers have their keys and can be reached; none is asked anything."""
    from llmrouter.inference.remote.models import open_providers

    found = []
    for one in settings.inference.providers:
        try:
            await open_providers((one,), read_variable).close()
        except RouterError as error:
            remedy = "put the key there, or correct api_key_file or api_key_variable"
            found.append(Finding("provider", State.FAILED, f"{one.name}: {error.message}", remedy))
            continue
        found.append(await _reached("provider", one.base_url, f"{one.name} at {one.base_url}"))
    return found


async def _reached(check: str, url: str, name: str) -> Finding:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if await _listens(parts.hostname or "", port):
        return Finding(check, State.OK, f"{name} is reached")
    remedy = "start it, correct the address, or let the network through"
    return Finding(check, State.WARNING, f"{name} is not reached", remedy)


async def check_telemetry(settings: SuiteSettings) -> list[Finding]:
    """Look whether somebody is where telemetry goes."""
    endpoint = settings.telemetry.otlp_endpoint
    if not endpoint:
        return [Finding("telemetry", State.NOTE, "goes nowhere", "set telemetry.otlp_endpoint")]
    return [await _reached("telemetry", endpoint, f"the collector at {endpoint}")]


def check_running(seen: Overview) -> Iterator[Finding]:
    """Look at what the running services say of themselves."""
    models = seen.catalog.models
    ready = [model.name for model in models if model.addresses]
    if models and not ready:
        yield Finding("routing", State.FAILED, "no model of the catalog is served", _PULL)
    elif ready:
        yield Finding("routing", State.OK, f"{len(ready)} of {len(models)} models are served")
    if seen.catalog.degraded:
        remedy = "give the selector a place to write: selector.state_path"
        yield Finding("state", State.WARNING, seen.catalog.degraded, remedy)
    for one in seen.breakers.breakers:
        if one.state == pb.BREAKER_STATE_OPEN:
            said = f"{one.model} at {one.address} is left alone after {one.last_error}"
            remedy = "mend it; it is tried again by itself, or: llmrouter breakers reset"
            yield Finding("breaker", State.WARNING, said, remedy)
    for rollout in seen.rollouts.rollouts:
        if rollout.state == pb.ROLLOUT_STATE_ROLLED_BACK:
            said = f"{rollout.spec.model} to {rollout.spec.new_version} was rolled back"
            yield Finding("rollout", State.WARNING, f"{said}: {rollout.reason}")
    yield from _memory(seen)


def _memory(seen: Overview) -> Iterator[Finding]:
    for node in seen.nodes.values():
        yield from _memory_of(node.memory)


def _memory_of(memory: model_pb2.MemoryStatus) -> Iterator[Finding]:
    if memory.pressure in (
        model_pb2.MEMORY_PRESSURE_CRITICAL,
        model_pb2.MEMORY_PRESSURE_EMERGENCY,
    ):
        said = f"{size_text(memory.used_bytes)} of {size_text(memory.limit_bytes)} are in use"
        remedy = "unload models, lower inference.slots or memory_mib, or give more memory"
        yield Finding("memory", State.WARNING, said, remedy)
    elif memory.limit_bytes:
        said = f"{size_text(memory.used_bytes)} of {size_text(memory.limit_bytes)} in use"
        yield Finding("memory", State.OK, said)
