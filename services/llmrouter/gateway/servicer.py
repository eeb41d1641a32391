"""The gateway on the wire: decode, hand to the chain, encode."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
)
from llmrouter.common.telemetry.names import SpanName
from llmrouter.common.telemetry.tracing import Tracer, spanned
from llmrouter.common.wire_embedding import decode_embedding_request, encode_embedding_result
from llmrouter.common.wire_errors import to_status
from llmrouter.common.wire_event import encode_event
from llmrouter.common.wire_rating import decode_rating
from llmrouter.common.wire_request import decode_request
from llmrouter.gateway.accounting import refusals_accounted
from llmrouter.gateway.answers import AnswerBuilder
from llmrouter.gateway.batching import answer_each, check_batch
from llmrouter.gateway.callers import (
    REQUEST_ID_KEY,
    TextEmbedder,
    check_request_id,
    context_of,
    known_as,
)
from llmrouter.gateway.clients import shown_models
from llmrouter.gateway.conversation_messages import decode_commands, encode_outcome
from llmrouter.gateway.conversing import Conversation
from llmrouter.gateway.identity.authentication import Call, Identity
from llmrouter.gateway.identity.principal import Scope
from llmrouter.gateway.messages import encode_choice
from llmrouter.gateway.pacing import check_unpaced
from llmrouter.gateway.record import RequestObserver
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1 import embedding_pb2, generation_pb2, rating_pb2, selector_pb2
from llmrouter.v1 import gateway_pb2 as pb
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceServicer

__all__ = ["GatewayServicer", "InnerSelector", "certificate_names"]


_NAMES = ("x509_common_name", "x509_subject_alternative_name")
_SHORT_ID = 58
"""Characters of a call's id; the index of a question joins them."""


class InnerSelector(Protocol):
    """What the servicer itself needs of the selector."""

    async def rate_outcome(
        self, request: rating_pb2.RateOutcomeRequest, context: RequestContext
    ) -> rating_pb2.RateOutcomeResponse:
        """Take in how good an answer was."""
        ...

    async def list_catalog(self) -> selector_pb2.ListCatalogResponse:
        """Return the catalog."""
        ...


class GatewayServicer(GatewayServiceServicer):
    """The public API."""

    def __init__(
        self,
        pipeline: Generator,
        embedder: TextEmbedder,
        selector_client: InnerSelector,
        identity: Identity,
        settings: GatewaySettings,
        observers: Sequence[RequestObserver] = (),
        tracer: Tracer | None = None,
    ) -> None:
        """Compose the service.

        Args:
            pipeline: The chain, as `build_pipeline` makes it.
            embedder: Turns texts into vectors, as `build_embedding` makes it.
            selector_client: Gives the catalog, and takes ratings.
            identity: Says who asks.
            settings: The gateway's settings.
            observers: Told of requests that cannot even be read.
            tracer: Gives each question of a batch a span; None traces nothing.
        """
        self._pipeline = pipeline
        self._embedder = embedder
        self._selector = selector_client
        self._identity = identity
        self._settings = settings
        self._observers, self._tracer = observers, tracer

    async def Generate(  # noqa: N802 - named by the proto
        self, request: generation_pb2.GenerateRequest, context: Any
    ) -> pb.GenerateResponse:
        """Answer in one piece."""
        return await _whole(self._events(request, context, self._asker(context), whole=True))

    async def StreamGenerate(  # noqa: N802 - named by the proto
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """Answer as it is generated."""
        stream = self._events(request.request, context, self._asker(context))
        async with closing_stream(stream) as events:
            async for event in events:
                yield pb.StreamGenerateResponse(event=encode_event(event))

    async def BatchGenerate(  # noqa: N802 - named by the proto
        self, request: pb.BatchGenerateRequest, context: Any
    ) -> AsyncIterator[pb.BatchGenerateResponse]:
        """Answer many questions, each result as soon as it is there."""
        with self._told(self._asker(context), context) as caller:
            count = len(request.requests)
            asker = self._admitted(context, caller, Scope.GENERATE)
            with refusals_accounted(asker, self._observers):
                check_batch(count, request.concurrency)

        async def answer(index: int) -> pb.GenerateResponse:
            asker = self._asker(context, f"{caller.request_id[:_SHORT_ID]}-{index}")
            with spanned(self._tracer, SpanName.QUESTION):
                question = request.requests[index]
                return await _whole(self._events(question, context, asker, whole=True))

        at_once = request.concurrency or self._settings.batch_concurrency
        async with closing_stream(answer_each(count, answer, at_once)) as results:
            async for index, result in results:
                if isinstance(result, RouterError):
                    yield pb.BatchGenerateResponse(index=index, error=to_status(result))
                else:
                    yield pb.BatchGenerateResponse(index=index, answer=result)

    async def Converse(  # noqa: N802 - named by the proto
        self, requests: AsyncIterator[pb.ConverseRequest], context: Any
    ) -> AsyncIterator[pb.ConverseResponse]:
        """Answer the turns of a conversation, one after another."""
        with self._told(self._asker(context), context) as caller:
            self._admitted(context, caller, Scope.GENERATE)

            async def answer(asked: GenerationRequest, turn: int) -> AsyncIterator[GenerationEvent]:
                asker = self._asker(context, f"{caller.request_id[:_SHORT_ID]}-{turn}")
                stream = self._answering(lambda: asked, asked.routing.model, context, asker)
                with spanned(self._tracer, SpanName.QUESTION):
                    async with closing_stream(stream) as events:
                        async for event in events:
                            yield event

            settings = self._settings
            conversation = Conversation(
                answer, settings.conversation_max_bytes, settings.conversation_idle_seconds
            )
            async with closing_stream(conversation.run(decode_commands(requests))) as outcomes:
                async for turn, outcome in outcomes:
                    yield encode_outcome(turn, outcome)

    async def Embed(  # noqa: N802 - named by the proto
        self, request: embedding_pb2.EmbedRequest, context: Any
    ) -> embedding_pb2.EmbedResponse:
        """Turn texts into vectors."""
        with self._told(self._asker(context), context) as caller:
            asker = self._admitted(context, caller, Scope.EMBED, request.model)
            with refusals_accounted(asker, self._observers):
                asked = decode_embedding_request(request)
            result = await self._embedder.embed(asked, asker)
        return encode_embedding_result(result)

    async def RateOutcome(  # noqa: N802 - named by the proto
        self, request: rating_pb2.RateOutcomeRequest, context: Any
    ) -> rating_pb2.RateOutcomeResponse:
        """Check a verdict and pass it on."""
        with self._told(self._asker(context), context) as caller:
            asker = self._admitted(context, caller, Scope.GENERATE)
            decode_rating(request)
            return await self._selector.rate_outcome(request, asker)

    async def ListModels(  # noqa: N802 - named by the proto
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        """List the selector's catalog in order of names."""
        del request
        with self._told(self._asker(context), context) as caller:
            asker = self._admitted(context, caller, Scope.MODELS)
            catalog = await self._selector.list_catalog()
        return pb.ListModelsResponse(models=shown_models(catalog.models, asker.models))

    def _events(
        self,
        request: generation_pb2.GenerateRequest,
        context: Any,
        caller: RequestContext,
        *,
        whole: bool = False,
    ) -> AsyncIterator[GenerationEvent]:
        """Answer one question of a call, maybe in one piece; `caller` is nobody yet."""
        decode = functools.partial(_decode_whole if whole else decode_request, request)
        return self._answering(decode, request.routing.model, context, caller)

    async def _answering(
        self,
        decode: Callable[[], GenerationRequest],
        model: str,
        context: Any,
        caller: RequestContext,
    ) -> AsyncIterator[GenerationEvent]:
        with self._told(caller, context):
            asker = self._admitted(context, caller, Scope.GENERATE, model)
            with refusals_accounted(asker, self._observers):
                asked = decode()
            urgent = replace(asker, priority=asked.priority)
            async with closing_stream(self._pipeline.generate(asked, urgent)) as events:
                async for event in events:
                    yield event

    @contextlib.contextmanager
    def _told(self, asker: RequestContext, context: Any) -> Iterator[RequestContext]:
        """Give who asks; what is raised names the request, and the end tells limits' standing."""
        try:
            yield asker
        except RouterError as error:
            error.metadata["request_id"] = asker.request_id
            raise
        finally:
            standing = () if asker.bill is None else tuple(asker.bill.standings.told())
            if standing:
                context.set_trailing_metadata(standing)

    def _admitted(
        self, context: Any, asker: RequestContext, scope: Scope, model: str = ""
    ) -> RequestContext:
        """Return who asks, as the call proves it; a refusal is accounted for."""
        with refusals_accounted(asker, self._observers):
            check_request_id(_given_request_id(context))
            call = Call(
                context.invocation_metadata(),
                context.peer(),
                asker.request_id,
                certificate_names(context),
            )
            who = self._identity.admit(call, scope, model)
        return known_as(asker, who, scope)

    def _asker(self, context: Any, request_id: str | None = None) -> RequestContext:
        """Return a nameless asker with the call's deadline, and its id if no other is given."""
        given = request_id or _given_request_id(context)
        return context_of(given, context.time_remaining(), self._settings)


async def _whole(stream: AsyncIterator[GenerationEvent]) -> pb.GenerateResponse:
    """Read an answer to its end."""
    builder = AnswerBuilder()
    async with closing_stream(stream) as events:
        async for event in events:
            builder.add(event)
    if builder.started is None or builder.finished is None:
        raise RouterError(Reason.INTERNAL, "the answer's stream ended before it was complete")
    return pb.GenerateResponse(
        started=encode_event(builder.started).started,
        choices=[encode_choice(choice) for choice in builder.choices()],
        finished=encode_event(builder.finished).finished,
    )


def _decode_whole(request: generation_pb2.GenerateRequest) -> GenerationRequest:
    asked = decode_request(request)
    check_unpaced(asked.cache)
    return asked


def certificate_names(context: Any) -> tuple[str, ...]:
    """Return the names of the certificate that the caller showed; gRPC has verified it."""
    shown = context.auth_context()
    held = (one for key in _NAMES for one in shown.get(key, ()))
    return tuple(name.decode(errors="replace") for name in held)


def _given_request_id(context: Any) -> str | None:
    given = [value for key, value in context.invocation_metadata() if key == REQUEST_ID_KEY]
    return given[0] if given else None
