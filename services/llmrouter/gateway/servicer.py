"""The gateway on the wire: decode, hand to the chain, encode."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import GenerationEvent, Generator, RequestContext
from llmrouter.common.wire_embedding import decode_embedding_request, encode_embedding_result
from llmrouter.common.wire_event import encode_event
from llmrouter.common.wire_request import decode_request
from llmrouter.gateway.accounting import refusals_accounted
from llmrouter.gateway.answers import AnswerBuilder
from llmrouter.gateway.messages import encode_choice
from llmrouter.gateway.record import RequestObserver
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1 import embedding_pb2, generation_pb2, selector_pb2
from llmrouter.v1 import gateway_pb2 as pb
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceServicer

__all__ = ["REQUEST_ID_KEY", "CatalogClient", "GatewayServicer", "TextEmbedder"]

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[!-~]{1,64}")


class CatalogClient(Protocol):
    """What the servicer itself needs of the selector."""

    async def list_catalog(self) -> selector_pb2.ListCatalogResponse:
        """Return the catalog."""
        ...


class TextEmbedder(Protocol):
    """What the servicer needs in order to turn texts into vectors."""

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors in the order of the texts."""
        ...


class GatewayServicer(GatewayServiceServicer):
    """The public API."""

    def __init__(
        self,
        pipeline: Generator,
        embedder: TextEmbedder,
        selector_client: CatalogClient,
        settings: GatewaySettings,
        observers: Sequence[RequestObserver] = (),
    ) -> None:
        """Compose the service.

        Args:
            pipeline: The chain, as `build_pipeline` makes it.
            embedder: Turns texts into vectors, as `build_embedding` makes it.
            selector_client: Gives the catalog.
            settings: The gateway's settings.
            observers: Told of requests that cannot even be read.
        """
        self._pipeline = pipeline
        self._embedder = embedder
        self._selector = selector_client
        self._settings = settings
        self._observers = observers

    async def Generate(  # noqa: N802 - named by the proto
        self, request: generation_pb2.GenerateRequest, context: Any
    ) -> pb.GenerateResponse:
        """Answer in one piece."""
        builder = AnswerBuilder()
        async with closing_stream(self._events(request, context)) as events:
            async for event in events:
                builder.add(event)
        if builder.started is None or builder.finished is None:
            raise RouterError(Reason.INTERNAL, "the answer's stream ended before it was complete")
        return pb.GenerateResponse(
            started=encode_event(builder.started).started,
            choices=[encode_choice(choice) for choice in builder.choices()],
            finished=encode_event(builder.finished).finished,
        )

    async def StreamGenerate(  # noqa: N802 - named by the proto
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """Answer as it is generated."""
        async with closing_stream(self._events(request.request, context)) as events:
            async for event in events:
                yield pb.StreamGenerateResponse(event=encode_event(event))

    async def Embed(  # noqa: N802 - named by the proto
        self, request: embedding_pb2.EmbedRequest, context: Any
    ) -> embedding_pb2.EmbedResponse:
        """Turn texts into vectors."""
        asker = self._asker(context)
        try:
            with refusals_accounted(asker, self._observers):
                _check_request_id(context)
                asked = decode_embedding_request(request)
            result = await self._embedder.embed(asked, asker)
        except RouterError as error:
            error.metadata["request_id"] = asker.request_id
            raise
        return encode_embedding_result(result)

    async def ListModels(  # noqa: N802 - named by the proto
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        """List the selector's catalog in order of names."""
        del request, context
        catalog = await self._selector.list_catalog()
        return pb.ListModelsResponse(models=sorted(catalog.models, key=lambda model: model.name))

    async def _events(
        self, request: generation_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[GenerationEvent]:
        asker = self._asker(context)
        try:
            with refusals_accounted(asker, self._observers):
                _check_request_id(context)
                asked = decode_request(request)
            asker = replace(asker, priority=asked.priority)
            async with closing_stream(self._pipeline.generate(asked, asker)) as events:
                async for event in events:
                    yield event
        except RouterError as error:
            error.metadata["request_id"] = asker.request_id
            raise

    def _asker(self, context: Any) -> RequestContext:
        """Return who asks and until when, from the call itself."""
        given = _given_request_id(context)
        request_id = given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        left = context.time_remaining()
        if left is None:
            left = self._settings.default_deadline_seconds
        left = min(left, self._settings.max_deadline_seconds)
        return RequestContext(request_id, deadline=time.monotonic() + left)


def _given_request_id(context: Any) -> str | None:
    given = [value for key, value in context.invocation_metadata() if key == REQUEST_ID_KEY]
    return given[0] if given else None


def _check_request_id(context: Any) -> None:
    given = _given_request_id(context)
    if given is not None and not _REQUEST_ID.fullmatch(given):
        raise invalid(REQUEST_ID_KEY, "must be 1 to 64 printable ASCII characters, no blanks")
