"""The inference service over gRPC: decode, call, encode."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from llmrouter.common.capabilities import TOOLS, needed
from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import FieldViolation, Reason, RouterError, invalid
from llmrouter.common.generation import Delta, GenerationEvent, GenerationRequest, RequestContext
from llmrouter.common.validation import validate, validate_context, validate_embedding
from llmrouter.common.wire import decode_context
from llmrouter.common.wire_continuation import decode_continuation
from llmrouter.common.wire_embedding import decode_embedding_request, encode_embedding_result
from llmrouter.common.wire_event import encode_event
from llmrouter.common.wire_request import decode_request
from llmrouter.inference.embedding import embed
from llmrouter.inference.generation import generate
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.observing import GenerationObserver
from llmrouter.inference.remote.models import RemoteModels
from llmrouter.v1 import embedding_pb2, generation_pb2
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1.inference_pb2_grpc import InferenceServiceServicer

__all__ = ["InferenceServicer"]


class InferenceServicer(InferenceServiceServicer):
    """Serves the models of a registry, and those of remote providers."""

    def __init__(
        self,
        registry: ModelRegistry,
        remote: RemoteModels,
        max_tokens: int,
        observer: GenerationObserver | None = None,
    ) -> None:
        self._registry, self._remote = registry, remote
        self._max_tokens = max_tokens
        self._observer = observer

    async def Infer(  # noqa: N802 - the RPC's name
        self, request: pb.InferRequest, context: Any
    ) -> AsyncIterator[pb.InferResponse]:
        """Run one request on one loaded model."""
        if not request.model:
            raise invalid("model", "is empty; name a model")
        asked = decode_request(request.request)
        validate(asked)
        who = _asker(request.context, context)
        begun = decode_continuation(request, asked)
        what = (request.model, request.version, asked, who, self._max_tokens, begun)
        if request.model in self._remote:
            events = self._remote.generate(*what)
        else:
            _refuse_tools(asked)
            events = generate(self._registry, *what)
        if self._observer is not None:
            provider = self._remote.provider_of(request.model)
            events = self._observer.watch(events, request.model, asked, provider=provider)
        async with closing_stream(events) as stream:
            async for event in stream:
                yield pb.InferResponse(event=encode_event(event), token_ids=_tokens(event))

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


def _refuse_tools(request: GenerationRequest) -> None:
    if TOOLS in needed(request):
        told = "are spoken of, which models of this machine do not know; ask a provider's"
        raise RouterError(
            Reason.UNSUPPORTED_OPTION, f"tools {told}", violations=(FieldViolation("tools", told),)
        )


def _tokens(event: GenerationEvent) -> tuple[int, ...]:
    return event.token_ids if isinstance(event, Delta) else ()


def _asker(said: generation_pb2.RequestContext, context: Any) -> RequestContext:
    """Return who asks, and until when by the call's own deadline."""
    left = context.time_remaining()
    deadline = None if left is None else time.monotonic() + left
    who = decode_context(said)
    validate_context(who)
    return replace(who, deadline=deadline)
