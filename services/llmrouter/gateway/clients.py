"""The selector as the links see it: domain values in and out, gRPC between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from grpc import aio

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, RequestContext
from llmrouter.common.prompt_features import features_of, question_text
from llmrouter.common.wire import encode_context
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.listing import ListedModel, Listing
from llmrouter.gateway.messages import (
    decode_plan,
    encode_outcome,
    encode_select,
    encode_select_embedder,
)
from llmrouter.gateway.plan import Outcome, Plan, Tried
from llmrouter.v1 import rating_pb2, selector_pb2
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub

if TYPE_CHECKING:
    from llmrouter.v1.selector_pb2_grpc import SelectorServiceAsyncStub

__all__ = ["SelectorClient", "ask", "shown_models"]

ResponseT = TypeVar("ResponseT")


class SelectorClient:
    """The selector over a channel.

    Args:
        channel: A `grpc.aio` channel or one in process.
        timeout: Seconds to wait for one answer.
        features: Whether it is told what prompts are like, for learned routing.
    """

    def __init__(self, channel: Any, timeout: float, *, features: bool = True) -> None:
        self._stub: SelectorServiceAsyncStub = SelectorServiceStub(channel)
        self._timeout = timeout
        self._features = features

    async def select(
        self,
        request: GenerationRequest,
        context: RequestContext,
        tried: tuple[Tried, ...] = (),
    ) -> Plan:
        """Return the plan for one request, without those that were `tried`."""
        features = features_of(question_text(request)) if self._features else None
        message = encode_select(request, context, tried, features)
        remaining = context.remaining()
        response = await ask(self._stub.Select, message, "selector", self._timeout, remaining)
        return decode_plan(response.plan)

    async def select_embedder(self, request: EmbeddingRequest, context: RequestContext) -> Plan:
        """Return the plan for texts that are to become vectors."""
        message = encode_select_embedder(request, context)
        remaining = context.remaining()
        response = await ask(self._stub.Select, message, "selector", self._timeout, remaining)
        return decode_plan(response.plan)

    async def report_outcome(
        self, plan_id: str, outcomes: tuple[Outcome, ...], context: RequestContext
    ) -> None:
        """Send the outcomes of one plan; the request's own deadline no longer matters."""
        message = selector_pb2.ReportOutcomeRequest(
            context=encode_context(context),
            plan_id=plan_id,
            outcomes=[encode_outcome(outcome) for outcome in outcomes],
        )
        await ask(self._stub.ReportOutcome, message, "selector", self._timeout, None)

    async def versions(self) -> tuple[str, dict[tuple[str, str], bool]]:
        """Return who tells, and whether each version of each model serves; else it is away."""
        message = selector_pb2.ListVersionsRequest()
        told = await ask(self._stub.ListVersions, message, "selector", self._timeout, None)
        return told.selector, {(one.model, one.version): not one.away for one in told.versions}

    async def rate_outcome(
        self, request: rating_pb2.RateOutcomeRequest, context: RequestContext
    ) -> rating_pb2.RateOutcomeResponse:
        """Send a verdict on, as it is on the wire; return what became of it."""
        who = encode_context(context)
        message = rating_pb2.SelectorServiceRateOutcomeRequest(context=who, request=request)
        remaining = context.remaining()
        answer = await ask(self._stub.RateOutcome, message, "selector", self._timeout, remaining)
        return answer.response

    async def listing(self, allowed: frozenset[str]) -> Listing:
        """Return what a caller may name to whom `allowed` is."""
        catalog = await self.list_catalog()
        return Listing(
            tuple(
                ListedModel(one.name, one.version, tuple(one.aliases))
                for one in shown_models(catalog.models, allowed)
                if one.addresses
            ),
            tuple(catalog.strategies),
        )

    async def list_catalog(self) -> selector_pb2.ListCatalogResponse:
        """Return the catalog as it is on the wire: the gateway hands it on unread."""
        message = selector_pb2.ListCatalogRequest()
        return await ask(self._stub.ListCatalog, message, "selector", self._timeout, None)


def shown_models(
    models: Iterable[selector_pb2.CatalogModel], allowed: frozenset[str]
) -> list[selector_pb2.CatalogModel]:
    """Return the models that a caller may use, in order of names; `allowed` empty is all."""
    shown = (one for one in models if not allowed or allowed & {one.name, *one.aliases})
    return sorted(shown, key=lambda model: (model.name, model.version))


async def ask(
    method: Callable[..., Awaitable[ResponseT]],
    message: object,
    service: str,
    timeout: float,  # noqa: ASYNC109 - gRPC's own deadline, sent along with the call
    remaining: float | None,
) -> ResponseT:
    """Make one unary call; a service that is merely slow counts as not there.

    Args:
        method: Of a stub.
        message: Its request.
        service: The service's name, for errors.
        timeout: Seconds to wait at most.
        remaining: Seconds until the caller gives up; None when it does not.

    Raises:
        RouterError: The call failed, or took too long.
    """
    limit = timeout if remaining is None else min(timeout, remaining)
    try:
        return await method(message, timeout=limit)
    except aio.AioRpcError as error:
        meaning = from_rpc_error(error, service)
        if meaning.reason is Reason.DEADLINE_EXCEEDED and limit == timeout:
            sentence = f"the {service} did not answer within {timeout:g} s"
            raise RouterError(Reason.UPSTREAM_UNAVAILABLE, sentence) from error
        raise meaning from error
