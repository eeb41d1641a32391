"""Models as they are told over gRPC."""

from __future__ import annotations

from llmrouter.common.wire import duration
from llmrouter.inference.backends.base import BackendStatistics
from llmrouter.inference.models.card import Quality
from llmrouter.inference.models.held import HeldModel
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.pressure import Pressure
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.residency import ModelState
from llmrouter.inference.remote.models import RemoteModel, RemoteModels
from llmrouter.inference.wire_speed import encode_speed
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1 import model_pb2

__all__ = ["encode_memory", "encode_model", "encode_models"]

_STATES = {
    ModelState.UNLOADED: pb.MODEL_STATE_UNLOADED,
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.READY: pb.MODEL_STATE_READY,
    ModelState.DRAINING: pb.MODEL_STATE_DRAINING,
    ModelState.FAILED: pb.MODEL_STATE_FAILED,
}
_PRESSURES = {
    Pressure.NONE: model_pb2.MEMORY_PRESSURE_NONE,
    Pressure.WARNING: model_pb2.MEMORY_PRESSURE_WARNING,
    Pressure.CRITICAL: model_pb2.MEMORY_PRESSURE_CRITICAL,
    Pressure.EMERGENCY: model_pb2.MEMORY_PRESSURE_EMERGENCY,
}


def encode_models(registry: ModelRegistry, remote: RemoteModels) -> list[pb.LoadedModel]:
    """Return every version, in the registry's order, then the models of providers."""
    local = [encode_model(model, registry) for model in registry.models]
    return [*local, *(_encode_remote(model) for model in remote)]


def encode_model(model: HeldModel, registry: ModelRegistry) -> pb.LoadedModel:
    """Return one version as it is now."""
    pointing = (
        registry.shelf.aliases(model.key.name).items() if registry.shelf.serves(model) else ()
    )
    result = pb.LoadedModel(
        name=model.key.name,
        label=model.key.label,
        state=_STATES[model.state],
        error=model.error,
        aliases=sorted(alias for alias, key in pointing if key == model.key),
        on_demand=model.obtainable,
        pinned=model.pinned,
    )
    if model.facts is not None:
        facts, card = model.facts, model.facts.folder.card
        result.version = facts.version
        result.context = facts.context
        result.folder_bytes = facts.folder.size_bytes
        result.chat = "chat" in facts.capabilities
        result.capabilities.extend(sorted(facts.capabilities))
        result.dimensions = facts.dimensions
        result.tokenizer = facts.tokenizer.fingerprint
        result.longest_token_bytes = facts.tokenizer.longest_token_bytes
        result.memory_bytes = facts.memory
        result.precision = card.precision if card is not None else ""
        if card is not None and card.quality is not None:
            result.quality.CopyFrom(_quality(card.quality))
        speed = encode_speed(card)
        if speed is not None:
            result.speed.CopyFrom(speed)
    if model.opened is not None:
        result.statistics.CopyFrom(_load(model.opened.engine.statistics()))
    return result


def _encode_remote(model: RemoteModel) -> pb.LoadedModel:
    return pb.LoadedModel(
        name=model.name,
        version=model.version,
        state=pb.MODEL_STATE_READY,
        aliases=["stable"],
        context=model.context,
        chat="chat" in model.capabilities,
        capabilities=sorted(model.capabilities),
        precision="remote",
        statistics=_load(model.statistics()),
    )


def encode_memory(registry: ModelRegistry, monitor: MemoryMonitor) -> model_pb2.MemoryStatus:
    """Return how short memory is, and how much models take of what they may."""
    use = monitor.use
    return model_pb2.MemoryStatus(
        pressure=_PRESSURES[monitor.pressure],
        used_bytes=use.used if use is not None else 0,
        limit_bytes=use.limit if use is not None else 0,
        model_bytes=registry.lifecycle.memory,
        budget_bytes=registry.lifecycle.options.memory_bytes,
    )


def _quality(quality: Quality) -> pb.ModelQuality:
    return pb.ModelQuality(
        perplexity=quality.perplexity,
        reference_perplexity=quality.reference_perplexity,
        kl_divergence=quality.kl_divergence,
        top1_agreement=quality.top1_agreement,
    )


def _load(load: BackendStatistics) -> pb.EngineStatistics:
    return pb.EngineStatistics(
        running=load.running,
        waiting=load.waiting,
        slots=load.slots,
        steps=load.steps,
        prompt_tokens=load.prompt_tokens,
        completion_tokens=load.completion_tokens,
        cache_bytes=load.cache_bytes,
        reused_tokens=load.reused_tokens,
        preemptions=load.preemptions,
        step_time=duration(load.step_seconds),
        estimated_wait=duration(load.estimated_wait_seconds),
        prefix_bytes=load.prefix_bytes,
        parked_bytes=load.parked_bytes,
        drafted_tokens=load.drafted_tokens,
        accepted_tokens=load.accepted_tokens,
    )
