"""The inference service over gRPC: decode, call, encode."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from llmrouter.common.errors import invalid
from llmrouter.common.generation import RequestContext
from llmrouter.common.validation import validate, validate_context, validate_embedding
from llmrouter.common.wire import decode_context, duration
from llmrouter.common.wire_embedding import decode_embedding_request, encode_embedding_result
from llmrouter.common.wire_event import encode_event
from llmrouter.common.wire_request import decode_request
from llmrouter.inference.embedding import embed
from llmrouter.inference.generation import generate
from llmrouter.inference.models.registry import HeldModel, LoadState, ModelRegistry
from llmrouter.inference.wire_speed import encode_speed
from llmrouter.v1 import embedding_pb2, generation_pb2
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1.inference_pb2_grpc import InferenceServiceServicer

__all__ = ["InferenceServicer"]

_STATES = {
    LoadState.LOADING: pb.MODEL_STATE_LOADING,
    LoadState.READY: pb.MODEL_STATE_READY,
    LoadState.FAILED: pb.MODEL_STATE_FAILED,
}


class InferenceServicer(InferenceServiceServicer):
    """Serves the models of a registry."""

    def __init__(self, registry: ModelRegistry, max_tokens: int) -> None:
        self._registry = registry
        self._max_tokens = max_tokens

    async def Infer(  # noqa: N802 - the RPC's name
        self, request: pb.InferRequest, context: Any
    ) -> AsyncIterator[pb.InferResponse]:
        """Run one request on one loaded model."""
        if not request.model:
            raise invalid("model", "is empty; name a model")
        asked = decode_request(request.request)
        validate(asked)
        who = _asker(request.context, context)
        events = generate(
            self._registry, request.model, request.version, asked, who, self._max_tokens
        )
        async with contextlib.aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                yield pb.InferResponse(event=encode_event(event))

    async def Embed(  # noqa: N802 - the RPC's name
        self, request: embedding_pb2.InferenceServiceEmbedRequest, context: Any
    ) -> embedding_pb2.InferenceServiceEmbedResponse:
        """Turn texts into vectors with one loaded model."""
        if not request.model:
            raise invalid("model", "is empty; name a model")
        asked = decode_embedding_request(request.request)
        validate_embedding(asked)
        who = _asker(request.context, context)
        result = await embed(self._registry, request.model, request.version, asked, who)
        return embedding_pb2.InferenceServiceEmbedResponse(response=encode_embedding_result(result))

    async def ListLoadedModels(  # noqa: N802 - the RPC's name
        self, request: pb.ListLoadedModelsRequest, context: Any
    ) -> pb.ListLoadedModelsResponse:
        """List the models this service was told to hold."""
        return pb.ListLoadedModelsResponse(
            models=[_encode(model) for model in self._registry.models]
        )


def _asker(said: generation_pb2.RequestContext, context: Any) -> RequestContext:
    """Return who asks, and until when by the call's own deadline."""
    left = context.time_remaining()
    deadline = None if left is None else time.monotonic() + left
    who = decode_context(said)
    validate_context(who)
    return replace(who, deadline=deadline)


def _encode(model: HeldModel) -> pb.LoadedModel:
    result = pb.LoadedModel(name=model.name, state=_STATES[model.state], error=model.error)
    if model.folder is None or model.engine is None:
        return result
    folder, card, load = model.folder, model.folder.card, model.engine.statistics()
    result.version = folder.version
    result.context = model.engine.context
    result.folder_bytes = folder.size_bytes
    result.chat = model.text is not None and model.text.has_template
    result.capabilities.extend(sorted(model.capabilities))
    result.dimensions = 0 if model.embedder is None else model.embedder.dimensions
    if card is not None:
        result.precision = card.precision
    if card is not None and card.quality is not None:
        result.quality.perplexity = card.quality.perplexity
        result.quality.reference_perplexity = card.quality.reference_perplexity
        result.quality.kl_divergence = card.quality.kl_divergence
        result.quality.top1_agreement = card.quality.top1_agreement
    speed = encode_speed(card)
    if speed is not None:
        result.speed.CopyFrom(speed)
    result.statistics.CopyFrom(
        pb.EngineStatistics(
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
    )
    return result
