"""The way to inference: one call per attempt, ended with its reader."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from grpc import aio

from llmrouter.common.continuation import Continuation
from llmrouter.common.dialling import Dialler
from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Usage,
)
from llmrouter.common.wire import encode_context
from llmrouter.common.wire_continuation import encode_continuation
from llmrouter.common.wire_embedding import decode_embedding_result, encode_embedding_request
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.common.wire_event import decode_event
from llmrouter.common.wire_request import encode_request
from llmrouter.gateway.attempts import AttemptObserver
from llmrouter.gateway.plan import Candidate
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1.embedding_pb2 import InferenceServiceEmbedRequest
from llmrouter.v1.inference_pb2_grpc import InferenceServiceStub

if TYPE_CHECKING:
    from llmrouter.v1.inference_pb2_grpc import InferenceServiceAsyncStub

__all__ = ["Upstream"]


class Upstream:
    """Runs requests on the inference services that plans name.

    Args:
        dialler: Gives channels to them.
        observer: Sees every attempt.
    """

    def __init__(self, dialler: Dialler, observer: AttemptObserver | None = None) -> None:
        self._dialler = dialler
        self._observer = observer or AttemptObserver(None, None)

    async def infer(
        self,
        candidate: Candidate,
        request: GenerationRequest,
        context: RequestContext,
        begun: Continuation | None = None,
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the events of one model, from the beginning or from what was answered already.

        Raises:
            RouterError: The call failed.
        """
        channel = self._dialler.passing(candidate.address)
        stub: InferenceServiceAsyncStub = InferenceServiceStub(channel)
        message = pb.InferRequest(
            context=encode_context(context),
            model=candidate.model,
            version=candidate.version,
            request=encode_request(request),
            continuation=encode_continuation(begun),
        )
        operation = "chat" if request.messages else "text_completion"
        watch = self._observer.begin(operation, candidate, request)
        call = None
        try:
            with watch.calling():
                call = stub.Infer(message, timeout=context.remaining())
            async for response in call:
                event = decode_event(response.event)
                if response.token_ids and isinstance(event, Delta):
                    event = replace(event, token_ids=tuple(response.token_ids))
                if event is not None:
                    if watch.sees_text or not isinstance(event, Delta):
                        watch.see(event)
                    yield event
        except aio.AioRpcError as error:
            meaning = _meaning(from_rpc_error(error, f"inference at {candidate.address}"))
            watch.failed(meaning)
            raise meaning from error
        finally:
            if call is not None:
                call.cancel()
            watch.ended(context)

    async def embed(
        self, candidate: Candidate, request: EmbeddingRequest, context: RequestContext
    ) -> EmbeddingResult:
        """Return the vectors of one model.

        Raises:
            RouterError: The call failed.
        """
        channel = self._dialler.passing(candidate.address)
        stub: InferenceServiceAsyncStub = InferenceServiceStub(channel)
        message = InferenceServiceEmbedRequest(
            context=encode_context(context),
            model=candidate.model,
            version=candidate.version,
            request=encode_embedding_request(request),
        )
        watch = self._observer.begin("embeddings", candidate)
        try:
            with watch.calling():
                answer = await stub.Embed(message, timeout=context.remaining())
        except aio.AioRpcError as error:
            meaning = _meaning(from_rpc_error(error, f"inference at {candidate.address}"))
            watch.failed(meaning)
            raise meaning from error
        else:
            result = decode_embedding_result(answer.response)
            watch.answered(Usage(result.tokens))
            return result
        finally:
            watch.ended(context)


def _meaning(error: RouterError) -> RouterError:
    """A model that the plan names and inference no longer holds is gone, not unknown."""
    if error.reason is not Reason.UNKNOWN_MODEL:
        return error
    return RouterError(Reason.MODEL_UNAVAILABLE, error.message, metadata=error.metadata)
