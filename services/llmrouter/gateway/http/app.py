"""The endpoints: bodies in, the chain asked, bodies out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import (
    Finished,
    GenerationRequest,
    Generator,
    RequestContext,
)
from llmrouter.common.guard import Gate
from llmrouter.gateway.accounting import refusals_accounted
from llmrouter.gateway.callers import (
    REQUEST_ID_KEY,
    TextEmbedder,
    check_request_id,
    context_of,
    known_as,
)
from llmrouter.gateway.http.calls import (
    CERTIFICATE_NAMES,
    ClientLeftError,
    EventStream,
    json_response,
    read_body,
    while_connected,
)
from llmrouter.gateway.http.decoding import (
    AUTO,
    chat_request,
    completion_requests,
    embedding_request,
)
from llmrouter.gateway.http.encoding import ChatForm, CompletionForm, Form, embedding_body
from llmrouter.gateway.http.errors import (
    about_input,
    bad_body,
    error_body,
    error_headers,
    http_status,
)
from llmrouter.gateway.http.fields import ChatBody, CompletionBody, EmbeddingBody, GenerationBody
from llmrouter.gateway.http.openapi import TIMEOUT_KEY, body
from llmrouter.gateway.http.several import Placed, side_by_side, together, whole_answers
from llmrouter.gateway.identity.authentication import Call, Identity
from llmrouter.gateway.identity.principal import Principal
from llmrouter.gateway.identity.principal import Scope as Permission
from llmrouter.gateway.listing import ListedModel, Listing
from llmrouter.gateway.record import RequestObserver
from llmrouter.gateway.settings import GatewaySettings

__all__ = ["HttpApi"]

BodyT = TypeVar("BodyT", ChatBody, CompletionBody, EmbeddingBody)
Work = Callable[[Request, RequestContext], Awaitable[Response]]
_CHOSEN = ListedModel(AUTO)
_WELL = {"status": "ok"}
_log = structlog.get_logger("llmrouter.http")


class HttpApi:
    """OpenAI's endpoints over the gateway's chain.

    Args:
        pipeline: The chain, as `build_pipeline` makes it.
        embedder: Turns texts into vectors.
        list_models: Gives what may be named of the models that are allowed.
        identity: Says who asks.
        settings: The gateway's settings.
        gate: Counts the calls, and refuses new ones while the gateway drains.
        observers: Told of requests that cannot even be read.
        trouble: Says what is wrong with the limits; empty while nothing is.
    """

    def __init__(
        self,
        pipeline: Generator,
        embedder: TextEmbedder,
        list_models: Callable[[frozenset[str]], Awaitable[Listing]],
        identity: Identity,
        settings: GatewaySettings,
        gate: Gate,
        observers: Sequence[RequestObserver] = (),
        trouble: Callable[[], str] = str,
    ) -> None:
        self._pipeline, self._embedder, self._list_models = pipeline, embedder, list_models
        self._identity, self._settings, self._gate = identity, settings, gate
        self._observers, self._trouble = observers, trouble
        generate, embed, models = Permission.GENERATE, Permission.EMBED, Permission.MODELS
        routes = [
            Route("/v1/chat/completions", _Endpoint(self, self.chat, generate), methods=["POST"]),
            Route("/v1/completions", _Endpoint(self, self.completions, generate), methods=["POST"]),
            Route("/v1/embeddings", _Endpoint(self, self.embeddings, embed), methods=["POST"]),
            Route("/v1/models", _Endpoint(self, self.models, models), methods=["GET"]),
            Route("/v1/models/{name:path}", _Endpoint(self, self.model, models), methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/openapi.json", self.described, methods=["GET"]),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: _no_endpoint})

    async def chat(self, request: Request, context: RequestContext) -> Response:
        """Answer a chat."""
        with refusals_accounted(context, self._observers):
            body = await self._body(request, ChatBody)
            asked = (chat_request(body),)
            self._permit(request, context, asked[0].routing.model)
        form = ChatForm(context.request_id, include_usage=_wants_usage(body))
        return await self._answer(request, context, asked, [form], stream=body.stream)

    async def completions(self, request: Request, context: RequestContext) -> Response:
        """Complete prompts."""
        with refusals_accounted(context, self._observers):
            body = await self._body(request, CompletionBody)
            asked = completion_requests(body)
            self._permit(request, context, asked[0].routing.model)
        identity, counted = context.request_id, _wants_usage(body)
        forms = [
            CompletionForm(identity, first=place * body.n, include_usage=counted)
            for place in range(len(asked))
        ]
        return await self._answer(request, context, asked, forms, stream=body.stream)

    async def embeddings(self, request: Request, context: RequestContext) -> Response:
        """Turn texts into vectors."""
        with refusals_accounted(context, self._observers):
            body = await self._body(request, EmbeddingBody)
            asked = embedding_request(body)
            self._permit(request, context, asked.model)
        work = self._embedder.embed(asked, context)
        try:
            result = await while_connected(request.receive, work)
        except RouterError as error:
            raise about_input(error, len(asked.texts)) from error
        return json_response(embedding_body(result, body.encoding_format), headers=_named(context))

    async def models(self, request: Request, context: RequestContext) -> Response:
        """List the names that `model` may have."""
        del request
        listing = await self._list_models(context.models)
        told = {one.name: one.version for one in (_CHOSEN, *listing.models)}
        body = {"object": "list", "data": [_model(*one) for one in told.items()]}
        return json_response(body, headers=_named(context))

    async def model(self, request: Request, context: RequestContext) -> Response:
        """Describe what a request means that says `model` so: by name, `name@version` or alias."""
        name = request.path_params["name"]
        listing = await self._list_models(context.models)
        chosen = replace(_CHOSEN, aliases=tuple(f"{AUTO}:{one}" for one in listing.strategies))
        meant = next((one for one in (chosen, *listing.models) if one.goes_by(name)), None)
        if meant is None:
            told = f"there is no model {name!r}; GET /v1/models lists them"
            raise RouterError(Reason.UNKNOWN_MODEL, told)
        return json_response(_model(name, meant.version), headers=_named(context))

    async def health(self, request: Request) -> Response:
        """Say whether requests are welcome."""
        del request
        if self._gate.closed:
            return json_response({"status": "draining"}, 503)
        trouble = self._trouble()
        return json_response({"status": "degraded", "limits": trouble} if trouble else _WELL)

    async def described(self, request: Request) -> Response:
        """Describe all of this as OpenAPI."""
        del request
        return Response(body(), media_type="application/json")

    def begin(self, request: Request) -> RequestContext:
        """Return who asks, and until when."""
        headers = request.headers
        return context_of(headers.get(REQUEST_ID_KEY), _time_left(headers), self._settings)

    async def serve(
        self, request: Request, context: RequestContext, work: Work, permission: Permission
    ) -> Response:
        """Return what `work` answers to a caller who is known.

        Raises:
            RouterError: It was refused or failed.
        """
        check_request_id(request.headers.get(REQUEST_ID_KEY))
        _check_timeout(request.headers.get(TIMEOUT_KEY))
        request.state.who = who = self.admit(request, context, permission)
        return await work(request, known_as(context, who, permission))

    def admit(self, request: Request, context: RequestContext, permission: Permission) -> Principal:
        """Return who asks.

        Raises:
            RouterError: Nobody who may.
        """
        with refusals_accounted(context, self._observers):
            return self._identity.admit(_call(request, context), permission)

    def add(self, path: str, work: Work, permission: Permission) -> None:
        """Have `GET path` answered by `work` to those who may."""
        self.app.router.routes.append(
            Route(path, _Endpoint(self, work, permission), methods=["GET"])
        )

    def add_public(self, path: str, answer: ASGIApp) -> None:
        """Have `GET path` answered to everybody: it holds nothing that is anybody's."""
        self.app.router.routes.append(Route(path, answer, methods=["GET"]))

    def _permit(self, request: Request, context: RequestContext, model: str) -> None:
        self._identity.admit_model(_call(request, context), request.state.who, model)

    @property
    def gate(self) -> Gate:
        """What counts the calls."""
        return self._gate

    async def _body(self, request: Request, form: type[BodyT]) -> BodyT:
        settings = self._settings
        data = await read_body(request, settings.http_max_body_bytes, settings.http_body_seconds)
        try:
            return form.model_validate_json(data)
        except ValidationError as error:
            raise bad_body(error) from None

    async def _answer(
        self,
        request: Request,
        context: RequestContext,
        asked: tuple[GenerationRequest, ...],
        forms: Sequence[Form],
        *,
        stream: bool,
    ) -> Response:
        if not stream:
            work = whole_answers(self._pipeline, asked, context)
            whole = await while_connected(request.receive, work)
            return json_response(forms[0].whole(*whole), headers=_named(context))
        events = side_by_side(self._pipeline, asked, context)
        try:
            # What is refused before the answer begins has a status of its own.
            first = await while_connected(request.receive, anext(events))
        except BaseException:
            await events.aclose()
            raise
        return EventStream(_chunks(first, events, forms, context), _named(context))


class _Endpoint:
    """One endpoint as an ASGI application: counted, and every failure in OpenAI's form."""

    def __init__(self, api: HttpApi, work: Work, permission: Permission) -> None:
        self._api, self._work, self._permission = api, work, permission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        context = self._api.begin(request)
        try:
            called = f"{request.method} {request.scope['route'].path}"
            with self._api.gate.passed(called, request.headers.items(), context.remaining):
                response = await self._api.serve(request, context, self._work, self._permission)
                await response(scope, receive, send)
        except ClientLeftError:
            return
        except RouterError as error:
            await _refusal(error, context)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the one place that maps every failure
            await _refusal(_unexpected(error), context)(scope, receive, send)


async def _chunks(
    first: Placed,
    events: AsyncGenerator[Placed],
    forms: Sequence[Form],
    context: RequestContext,
) -> AsyncIterator[dict[str, Any]]:
    """Give the chunks of a stream; a failure is the last, and all ends are counted in one."""
    ends: list[Finished] = []
    try:
        async with contextlib.aclosing(events):
            for chunk in forms[first[0]].chunks(first[1]):
                yield chunk
            async for place, event in events:
                if isinstance(event, Finished):
                    ends.append(event)
                    continue
                for chunk in forms[place].chunks(event):
                    yield chunk
            for chunk in forms[0].chunks(together(ends)):
                yield chunk
    except RouterError as error:
        error.metadata["request_id"] = context.request_id
        yield error_body(error)
    except Exception as error:  # noqa: BLE001 - the answer has begun: a status can no longer say it
        yield error_body(_unexpected(error))


def _unexpected(error: Exception) -> RouterError:
    _log.error("unexpected failure", service="gateway", exc_info=error)
    return RouterError(Reason.INTERNAL, "gateway failed unexpectedly; its log says more")


def _refusal(error: RouterError, context: RequestContext) -> Response:
    headers = {**error_headers(error), **_named(context)}
    return json_response(error_body(error), http_status(error), headers)


async def _no_endpoint(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    message = f"{request.url.path} is no endpoint; /v1/models, for one, is"
    if allowed := headers.get("Allow"):
        message = f"{request.url.path} does not take {request.method}; it takes {allowed}"
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return json_response({"error": body}, status, headers)


def _call(request: Request, context: RequestContext) -> Call:
    host, port = request.client or ("", 0)
    peer = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}" if host else ""
    names = request.scope.get("state", {}).get(CERTIFICATE_NAMES, ())
    return Call(request.headers.items(), peer, context.request_id, names)


def _named(context: RequestContext) -> dict[str, str]:
    """Return the headers of every answer: the request's name, and how the caller's limits stand."""
    standing = () if context.bill is None else context.bill.standings.told()
    return {REQUEST_ID_KEY: context.request_id, **dict(standing)}


def _model(name: str, version: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llmrouter",
            "llmrouter": {"version": version}}  # fmt: skip


def _wants_usage(body: GenerationBody) -> bool:
    return bool(body.stream_options and body.stream_options.include_usage)


def _time_left(headers: Any) -> float | None:
    try:
        return float(headers.get(TIMEOUT_KEY, ""))
    except ValueError:
        return None


def _check_timeout(given: str | None) -> None:
    if given is None:
        return
    try:
        fine = 0 < float(given) < float("inf")
    except ValueError:
        fine = False
    if not fine:
        raise invalid(TIMEOUT_KEY, f"is {given[:32]!r}; it must be a number of seconds above 0")
