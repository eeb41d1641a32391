"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from grpc import Compression, aio

from llmrouter.v1 import gateway_pb2
from llmrouter_client.arguments import check_addresses, check_api_key, check_option, check_retries
from llmrouter_client.batch import Batch, Question, requests_from
from llmrouter_client.closing import Closing
from llmrouter_client.conversation import Conversation
from llmrouter_client.embeddings import Embeddings, embedding_request_from, embeddings_from
from llmrouter_client.errors import from_rpc_error
from llmrouter_client.events import (
    Answer,
    Delta,
    Event,
    Finished,
    Model,
    Started,
    answer_from,
    event_from,
    model_from,
)
from llmrouter_client.gateways import Gateways
from llmrouter_client.ratings import Rated, Verdict, rated_from, rating_request_from
from llmrouter_client.requests import Options, Prompt, request_from
from llmrouter_client.retrying import Retrying
from llmrouter_client.tls import Tls

if TYPE_CHECKING:
    from llmrouter.v1.gateway_pb2_grpc import GatewayServiceAsyncStub

__all__ = ["AsyncClient", "Stream"]

_COMPRESSED = ("x-llmrouter-compression", "gzip")
"""Asks for answers to be compressed, too: servers are not shown gRPC's own header."""
_ResponseT = TypeVar("_ResponseT")


class AsyncClient:
    """Asks a gateway. Safe to share between tasks of one event loop.

    Args:
        address: `host:port` of the gateway, or a list of several: calls go to all of them in turn,
            and to another one where one is away.
        api_key: Proves who asks, where the gateway wants that; sent with every call.
        timeout: Seconds for a whole call unless it says otherwise; None leaves it to the server.
        retries: How often a call that found nobody to answer is tried again at most.
        tls: Files by which the gateway is reached over TLS; None speaks without.

    Raises:
        LlmrouterError: INVALID_ARGUMENT naming the argument that is wrong.
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:50051",
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        retries: int = 2,
        tls: Tls | None = None,
    ) -> None:
        check_option("timeout", timeout)
        addresses = check_addresses(address)
        self._timeout = timeout
        self._retries = check_retries(retries)
        key = check_api_key(api_key)
        self._metadata = None if key is None else (("authorization", f"Bearer {key}"),)
        self._gateways = Gateways(addresses, None if tls is None else tls.credentials())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and cancel what still runs on them.

        Calls that begin later, or pause for another try, raise RuntimeError.
        """
        await self._gateways.close()

    async def generate(self, prompt: Prompt, **options: Unpack[Options]) -> Answer:
        """Return the whole answer to a prompt or to messages.

        Raises:
            LlmrouterError: The request was refused or failed.
        """
        request = request_from(prompt, options)
        retrying, carried = self._retrying(options), self._carried(options)
        return answer_from(
            await self._unary(lambda stub: stub.Generate, request, retrying, carried)
        )

    def stream(self, prompt: Prompt, **options: Unpack[Options]) -> Stream:
        """Return the answer as it is generated; the call starts with the first event asked for."""
        request = gateway_pb2.StreamGenerateRequest(request=request_from(prompt, options))
        return Stream(
            lambda retrying: retrying.ask().stub.StreamGenerate(
                request, timeout=retrying.remaining(), **self._carried(options)
            ),
            lambda: self._retrying(options),
        )

    def batch(
        self,
        questions: Sequence[Prompt | Question],
        *,
        concurrency: int | None = None,
        **options: Unpack[Options],
    ) -> Batch:
        """Return the results of many questions, each as soon as it is there.

        Args:
            questions: Any number, each a prompt, messages, or a `Question` with options of its own.
            concurrency: How many are answered at once, 1 to 64; the gateway's choice by default.
            **options: For all questions; `timeout` is that of the whole batch.

        Raises:
            LlmrouterError: INVALID_ARGUMENT naming the argument that is wrong.
        """
        check_option("concurrency", concurrency)
        return Batch(
            lambda request, retrying: retrying.ask().stub.BatchGenerate(
                request, timeout=retrying.remaining(), **self._carried(options)
            ),
            lambda: self._retrying(options),
            requests_from(questions, options),
            concurrency or 0,
        )

    def converse(self, *, window: int | None = None, **options: Unpack[Options]) -> Conversation:
        """Begin a conversation, which starts with the first thing said.

        Args:
            window: Bytes of text, 1 to 16777216, that may come before any of them is read: a reader
                who falls behind pauses the generation itself. None leaves it to the transport.
            **options: For the turns, until `Conversation.change`; `timeout` is that of the whole
                conversation.

        Raises:
            LlmrouterError: INVALID_ARGUMENT naming the argument that is wrong.
        """
        check_option("window", window)
        request_from("-", options)  # so that what is wrong is told here
        return Conversation(
            lambda retrying: retrying.ask().stub.Converse(
                timeout=retrying.remaining(), **self._carried(options)
            ),
            lambda: self._retrying(options),
            options,
            window,
        )

    async def embed(
        self,
        texts: str | Sequence[str],
        *,
        model: str | None = None,
        truncate: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - it is gRPC's deadline
    ) -> Embeddings:
        """Return one vector per text; only vectors of one model version can be compared.

        Args:
            texts: One text, or up to 256 of them.
            model: A model name, `name@version` or alias; the selector chooses by default.
            truncate: Cut texts that are too long rather than refuse them.
            timeout: Seconds for the whole call, retries included; the client's by default.

        Raises:
            LlmrouterError: The request was refused or failed.
        """
        retrying = self._retrying({"timeout": timeout})
        request = embedding_request_from(texts, model, truncate=truncate)
        return embeddings_from(await self._unary(lambda stub: stub.Embed, request, retrying))

    async def rate(
        self,
        answer: Answer | Started | str,
        verdict: Verdict,
        *,
        model: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it is gRPC's deadline
    ) -> Rated:
        """Tell how good an answer was; learned routing learns from it.

        Args:
            answer: The answer, its `Started`, or the id of its plan.
            verdict: True or False for a thumb, a number of 0 to 1 for what a judge thinks, or a
                score as `(value, lowest, highest)`.
            model: Who answered, where the id alone is given and several did.
            timeout: Seconds for the whole call, retries included; the client's by default.

        Raises:
            LlmrouterError: UNKNOWN_PLAN when the plan is forgotten; INVALID_ARGUMENT naming what is
                wrong; the call failed.
        """
        retrying = self._retrying({"timeout": timeout})
        request = rating_request_from(answer, verdict, model)
        return rated_from(await self._unary(lambda stub: stub.RateOutcome, request, retrying))

    async def models(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it is gRPC's deadline
    ) -> list[Model]:
        """Return the models a request may be routed to, in order of their names.

        Raises:
            LlmrouterError: The call failed.
        """
        retrying = self._retrying({"timeout": timeout})
        request = gateway_pb2.ListModelsRequest()
        response = await self._unary(lambda stub: stub.ListModels, request, retrying)
        return [model_from(model) for model in response.models]

    def _retrying(self, options: Options) -> Retrying:
        timeout = options.get("timeout")
        check_option("timeout", timeout)
        seconds = self._timeout if timeout is None else timeout
        return Retrying(self._retries, seconds, self._gateways)

    def _carried(self, options: Options | None = None) -> dict[str, Any]:
        """Return what a call carries: who asks, and whether large messages are compressed."""
        if options is None or options.get("compression") is None:
            return {"metadata": self._metadata}
        metadata = (*(self._metadata or ()), _COMPRESSED)
        return {"metadata": metadata, "compression": Compression.Gzip}

    async def _unary(
        self,
        method: Callable[[GatewayServiceAsyncStub], Callable[..., Awaitable[_ResponseT]]],
        request: object,
        retrying: Retrying,
        carried: Mapping[str, Any] | None = None,
    ) -> _ResponseT:
        """Call a method with what every call carries, and how long it may take."""
        told = carried or self._carried()
        while True:
            try:
                call, timeout = method(retrying.ask().stub), retrying.remaining()
                return await call(request, timeout=timeout, **told)
            except aio.AioRpcError as failed:
                error = from_rpc_error(failed, retrying.address)
            if not await retrying.pause(error):
                raise error


class Stream(Closing):
    """An answer as it comes: an asynchronous iterator of events.

    Use it with `async with`, or call `aclose`: leaving early cancels the call, and the generation
    stops. A call that fails as unavailable before the first `Delta` is tried again, which is why
    `Started` is handed out together with what follows it.

    Attributes:
        started: The first event, once it came.
        finished: The last event, once it came.
    """

    def __init__(
        self,
        dial: Callable[[Retrying], Any],
        retrying: Callable[[], Retrying],
    ) -> None:
        self.started: Started | None = None
        self.finished: Finished | None = None
        self._dial = dial
        self._make_retrying = retrying
        self._retrying: Retrying | None = None
        self._call: Any = None
        self._held: deque[Event] = deque()
        self._tokens = 0
        self._committed = False
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """End the stream; a generation still running is cancelled."""
        self._closed = True
        self._held.clear()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            LlmrouterError: The request was refused, or its stream broke off.
        """
        while not self._held or not self._committed:
            if self._closed or not await self._receive():
                raise StopAsyncIteration
        return self._held.popleft()

    async def _receive(self) -> bool:
        """Take in one message; False at the end."""
        if self._retrying is None:
            self._retrying = self._make_retrying()
        try:
            if self._call is None:
                self._call = self._dial(self._retrying)
            message = await self._call.read()
        except aio.AioRpcError as failed:
            delivered = self._tokens if self._committed else None
            error = from_rpc_error(failed, self._retrying.address, delivered)
        except asyncio.CancelledError:
            if self._closed and not _being_cancelled():
                return False  # closed by someone else while this task was waiting
            await self.aclose()
            raise
        else:
            return self._take(message)
        self._held.clear()
        self._call = None
        if self._committed or not await self._retrying.pause(error):
            self._closed = True
            raise error
        self._tokens = 0
        return True

    def _take(self, message: Any) -> bool:
        if message is aio.EOF:
            self._closed = True
            self._committed = True
            return bool(self._held)
        event = event_from(message.event)
        if event is None:
            return True
        if isinstance(event, Started):
            self.started = event
        else:
            self._committed = self._committed or not isinstance(event, Delta) or bool(event.text)
        if isinstance(event, Delta):
            self._tokens += event.tokens
        if isinstance(event, Finished):
            self.finished = event
        self._held.append(event)
        return True


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
