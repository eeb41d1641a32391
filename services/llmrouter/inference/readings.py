"""What metrics show of an inference service: its models, their engines and its memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import Name
from llmrouter.inference.backends.base import BackendStatistics
from llmrouter.inference.cpu_meter import CpuMeter
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.registry import ModelRegistry

__all__ = ["readings"]


async def readings(registry: ModelRegistry, monitor: MemoryMonitor, cpu: CpuMeter) -> list[Reading]:
    """Return the values of this moment."""
    share = Reading(Name.CPU, cpu.share())
    return [share, *_models(registry), *_memory(registry, monitor)]


def _models(registry: ModelRegistry) -> Iterator[Reading]:
    for model in registry.models:
        labels = {"model": model.key.name, "version": model.version.fingerprint}
        yield Reading(Name.MODEL_STATE, 1, {**labels, "state": model.state.value})
        if model.opened is not None:
            yield from _engine(model.opened.engine.statistics(), labels)


def _memory(registry: ModelRegistry, monitor: MemoryMonitor) -> Iterator[Reading]:
    yield Reading(Name.MEMORY_USAGE, registry.lifecycle.memory, {"kind": "models"})
    yield Reading(Name.MEMORY_PRESSURE, int(monitor.pressure))
    if monitor.use is not None:
        yield Reading(Name.MEMORY_USAGE, monitor.use.used, {"kind": "limited"})
        yield Reading(Name.MEMORY_LIMIT, monitor.use.limit)


def _engine(now: BackendStatistics, labels: Mapping[str, str]) -> Iterator[Reading]:
    for name, value in (
        (Name.QUEUE_SIZE, now.waiting),
        (Name.RUNNING, now.running),
        (Name.HELD, now.held),
        (Name.SLOTS, now.slots),
        (Name.STEPS, now.steps),
        (Name.BUSY, now.busy_seconds),
        (Name.DECODER_BUSY, now.decoder_seconds),
        (Name.STEP_TIME, now.step_seconds),
        (Name.ESTIMATED_WAIT, now.estimated_wait_seconds),
        (Name.PROMPT_TOKENS, now.prompt_tokens),
        (Name.REUSED_TOKENS, now.reused_tokens),
        (Name.OUTPUT_TOKENS, now.completion_tokens),
        (Name.PREEMPTIONS, now.preemptions),
        (Name.DRAFTED, now.drafted_tokens),
        (Name.ACCEPTED, now.accepted_tokens),
    ):
        yield Reading(name, value, labels)
    for kind, held in (
        ("running", now.cache_bytes),
        ("prefixes", now.prefix_bytes),
        ("parked", now.parked_bytes),
    ):
        yield Reading(Name.KV_CACHE, held, {**labels, "kind": kind})
