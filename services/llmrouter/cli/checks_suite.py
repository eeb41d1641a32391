"""Checks of the models, of what is dialled outside, and of what running services say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmrouter.cli.checks_services import listens
from llmrouter.cli.findings import Finding, State
from llmrouter.common.errors import RouterError
from llmrouter.common.overview import Overview
from llmrouter.common.settings import read_variable
from llmrouter.common.sizes import size_text
from llmrouter.v1 import model_pb2
from llmrouter.v1 import selector_pb2 as pb

if TYPE_CHECKING:
    from llmrouter.inference.models.store import ModelStore
    from llmrouter.suite import SuiteSettings

__all__ = ["check_providers", "check_running", "check_store", "check_telemetry"]

_PULL = "llmrouter models pull smollm2-135m-instruct"


def check_store(store: ModelStore) -> Iterator[Finding]:
    """Look whether there are models, and whether each can be read."""
    from llmrouter.inference.models.strangers import strangers

    names = store.names()
    if not names:
        yield Finding("models", State.WARNING, f"{store.root} has none", _PULL)
    for name, why in strangers(store.root).items():
        yield Finding("models", State.WARNING, f"{name} {why}")
    size, broken = 0, False
    for name in names:
        try:
            size += store.model(name).size_bytes
        except RouterError as error:
            broken = True
            # Its sentence ends in what helps.
            yield Finding("models", State.FAILED, f"{name}: {error.message}")
    if names and not broken:
        said = f"{len(names)} in {store.root}, {size_text(size)}: {', '.join(names)}"
        how = "files and their sizes; `llmrouter models check` compares every byte"
        yield Finding("models", State.OK, f"{said} ({how})")


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
    if await listens(parts.hostname or "", port):
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
