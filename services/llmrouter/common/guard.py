"""What stands around every RPC of every service, over either transport.

A call is refused while the service drains; a `RouterError` becomes a google.rpc.Status; anything
else is logged with its trace and reaches the caller as INTERNAL without details.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire_errors import to_status

__all__ = [
    "DETAILS_KEY",
    "UNGUARDED",
    "CallObserver",
    "Gate",
    "GuardInterceptor",
    "guarded",
    "status_leaving",
]

DETAILS_KEY = "grpc-status-details-bin"
UNGUARDED = ("/grpc.health.", "/grpc.reflection.")
"""How methods begin that ask for no credential and answer even while draining."""
_log = structlog.get_logger("llmrouter.guard")
_STATUS_SECONDS = 1.0
"""How long a status may take to leave; beyond that it leaves when the caller reads on."""
_PASSING = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""What ends a call or the process; the panics of libraries in Rust are no `Exception` either."""
_CODES = {code.name: code for code in grpc.StatusCode}


class CallObserver(Protocol):
    """Sees every call of a service."""

    def begin(self, method: str, metadata: object) -> Callable[[str], None]:
        """Take in that a call begins; return what is to be told its reason, or `OK`, at the end."""
        ...


class Gate:
    """Counts the calls inside one service and, once closed, lets no new one in.

    Args:
        service: Its name.
        observer: Sees the calls, those that are refused too.
    """

    def __init__(self, service: str, observer: CallObserver | None = None) -> None:
        self.service = service
        self.observer = observer
        self.active = 0
        self.closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._begun: asyncio.Event | None = None

    def hold(self) -> None:
        """Let calls that come wait from now on until `begin`."""
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """Let in whatever waits, and what comes from now on at once."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.set()

    async def begun(self) -> None:
        """Return once calls are let in."""
        if self._begun is not None:
            await self._begun.wait()

    def enter(self) -> None:
        """Count a call in.

        Raises:
            RouterError: DRAINING once closed.
        """
        if self.closed:
            message = f"{self.service} is shutting down; another replica will answer"
            raise RouterError(Reason.DRAINING, message, retry_after=1.0)
        self.active += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count a call out."""
        self.active -= 1
        if not self.active:
            self._idle.set()

    @contextlib.contextmanager
    def passed(
        self, method: str, metadata: object, time_left: Callable[[], float | None]
    ) -> Iterator[None]:
        """Have one call inside while the block runs.

        Args:
            method: Full name of the method, or `POST /route` of a call over HTTP.
            metadata: What came with it, in pairs.
            time_left: Returns how many seconds its caller waits still, if that is known.

        Raises:
            RouterError: DRAINING once closed.
        """
        ended = None
        if self.observer is not None:
            ended = self.observer.begin(method, metadata)
        outcome = Reason.INTERNAL.value
        try:
            self.enter()
            try:
                yield
            finally:
                self.leave()
            outcome = "OK"
        except RouterError as error:
            outcome = error.reason.value
            raise
        except (asyncio.CancelledError, GeneratorExit):
            late = time_left() == 0
            outcome = (Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED).value
            raise
        finally:
            if ended is not None:
                ended(outcome)

    async def wait_idle(self) -> None:
        """Return once no call is inside."""
        await self._idle.wait()


class GuardInterceptor(aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]  # Any where stubs lack
    """Puts `guarded` around every handler of a gRPC server.

    Args:
        gate: Counts the calls.
        patience: Returns how many seconds a message may wait until its reader has room for it, by
            the seconds left of the call's deadline; None for a call without one.
    """

    def __init__(self, gate: Gate, patience: Callable[[float | None], float]) -> None:
        self._gate = gate
        self._patience = patience
        self._guarded: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the guarded handler; health and reflection answer even while draining."""
        method = handler_call_details.method
        known = self._guarded.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(UNGUARDED):
            return handler
        handler = guarded(handler, self._gate, method)
        bound, answer = (self._patience, self._gate.service), handler.response_serializer
        if handler.request_streaming:
            handler = grpc.stream_stream_rpc_method_handler(
                _writing(handler.stream_stream, *bound), None, answer
            )
        elif handler.response_streaming:
            handler = grpc.unary_stream_rpc_method_handler(
                _writing(handler.unary_stream, *bound), None, answer
            )
        self._guarded[method] = handler
        return handler


def guarded(handler: Any, gate: Gate, method: str = "") -> Any:
    """Return `handler` of `method` with the guard around it.

    Raises:
        TypeError: It takes a stream and answers in one piece; there is no such handler.
    """
    if handler.request_streaming:
        if not handler.response_streaming:
            raise TypeError("client-streaming handlers have no guard")
        return grpc.stream_stream_rpc_method_handler(
            _guard_stream(
                handler.stream_stream, gate, handler.request_deserializer, method, _decoded_each
            ),
            None,
            handler.response_serializer,
        )
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _guard_stream(handler.unary_stream, gate, handler.request_deserializer, method),
            None,
            handler.response_serializer,
        )
    return grpc.unary_unary_rpc_method_handler(
        _guard_unary(handler.unary_unary, gate, handler.request_deserializer, method),
        None,
        handler.response_serializer,
    )


def _decoded(request: Any, decode: Callable[[bytes], Any] | None) -> Any:
    """Return the message; over a socket it comes as bytes, so that bad ones are told our way."""
    if not isinstance(request, bytes) or decode is None:
        return request
    try:
        return decode(request)
    except DecodeError:
        message = "the request is no protobuf message of its type; regenerate the caller's stubs"
        raise RouterError(Reason.INVALID_ARGUMENT, message) from None


async def _decoded_each(
    requests: AsyncIterator[Any], decode: Callable[[bytes], Any] | None
) -> AsyncIterator[Any]:
    async for request in requests:
        yield _decoded(request, decode)


def _guard_unary(
    call: Callable[..., Awaitable[Any]],
    gate: Gate,
    decode: Callable[[bytes], Any] | None,
    method: str,
) -> Callable[..., Awaitable[Any]]:
    async def behaviour(request: Any, context: Any) -> Any:
        try:
            await gate.begun()
            with gate.passed(method, context.invocation_metadata(), context.time_remaining):
                return await call(_decoded(request, decode), context)
        except _PASSING:
            raise
        except BaseException as error:  # noqa: BLE001 - the one place that maps every failure
            await _abort(context, error, gate.service)

    return behaviour


def _guard_stream(
    call: Callable[..., AsyncIterator[Any]],
    gate: Gate,
    deserializer: Callable[[bytes], Any] | None,
    method: str,
    decode: Callable[..., Any] = _decoded,
) -> Callable[..., AsyncIterator[Any]]:
    async def behaviour(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            await gate.begun()
            with gate.passed(method, context.invocation_metadata(), context.time_remaining):
                answering = call(decode(request, deserializer), context)
                async with closing_stream(answering) as events:
                    async for event in events:
                        yield event
        except _PASSING:
            raise
        except BaseException as error:  # noqa: BLE001 - the one place that maps every failure
            await _abort(context, error, gate.service)

    return behaviour


def _writing(
    stream: Callable[..., AsyncIterator[Any]],
    patience: Callable[[float | None], float],
    service: str,
) -> Callable[..., Awaitable[None]]:
    """Return a handler that writes a stream itself, and closes it however the call ends.

    gRPC would leave a generator open whose event it could not send to a caller that is gone, until
    the collector finds it, and log a trace of what whoever accounts for the call tells anyway. It
    would also wait for ever for a caller who has stopped reading.
    """

    async def behaviour(request: Any, context: Any) -> None:
        async with closing_stream(stream(request, context)) as events:
            async for event in events:
                try:
                    async with asyncio.timeout(patience(context.time_remaining())):
                        await context.write(event)
                except aio.InternalError:
                    raise asyncio.CancelledError from None  # what a caller that leaves is told as
                except TimeoutError:
                    break
            else:
                return
        await _tell(context, _unread(context.time_remaining()), service)

    return behaviour


def _unread(left: float | None) -> RouterError:
    if left is not None and left <= 0:
        message = "the deadline passed while the client did not read the answer"
        return RouterError(Reason.DEADLINE_EXCEEDED, message)
    return RouterError(Reason.SLOW_READER, "the client has stopped reading the answer")


async def _tell(context: Any, error: RouterError, service: str) -> None:
    """End a call whose caller has stopped reading, without waiting until its end is read."""
    async with status_leaving():
        await _abort(context, error, service)


@contextlib.asynccontextmanager
async def status_leaving() -> AsyncIterator[None]:
    """Give a status that the block sends a second to leave; who does not read it is cut off."""
    try:
        async with asyncio.timeout(_STATUS_SECONDS):
            yield
    except TimeoutError:
        raise asyncio.CancelledError from None


async def _abort(context: Any, error: BaseException, service: str) -> None:
    if isinstance(error, aio.AbortError):
        raise error
    if not isinstance(error, RouterError):
        _log.error("unexpected failure", service=service, exc_info=error)
        error = RouterError(Reason.INTERNAL, f"{service} failed unexpectedly; its log says more")
    status = to_status(error)
    details = (DETAILS_KEY, status.SerializeToString())
    told = (*(context.trailing_metadata() or ()), details)
    await context.abort(_CODES[error.status], status.message, told)
