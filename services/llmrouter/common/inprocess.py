"""A gRPC channel without a wire: generated stubs call servicers of the same process.

`InProcessServer` takes handlers as a gRPC server does, `InProcessChannel` serves generated stubs as
a gRPC channel does. Messages are handed over as they are and must be treated as immutable.
Deadlines, cancellation, metadata and error details behave as over a socket; tests run over both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from typing import Any

import grpc
from grpc import aio

from llmrouter.common.guard import Gate, guarded

__all__ = ["InProcessChannel", "InProcessServer"]

_BUFFERED_EVENTS = 64
_END = object()


class InProcessServer:
    """Collects the handlers that `add_…_to_server` registers, with the guard around each."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Accept generic handlers; the generated code registers by method as well."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Accept the handlers of one service by method name."""
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self.handlers[method] = guarded(handler, self._gate, method)


class InProcessChannel:
    """What generated stubs need of a channel, served by an `InProcessServer`."""

    def __init__(self, server: InProcessServer) -> None:
        self._server = server

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Callable[..., _UnaryCall]:
        """Return the callable of a unary method."""

        def start(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Any = (),
            wait_for_ready: bool | None = None,
        ) -> _UnaryCall:
            del wait_for_ready  # a servicer of this process is always connected
            return _UnaryCall(self._handler(method).unary_unary, request, timeout, metadata)

        return start

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Callable[..., _StreamCall]:
        """Return the callable of a server-streaming method."""

        def start(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Any = (),
            wait_for_ready: bool | None = None,
        ) -> _StreamCall:
            del wait_for_ready  # a servicer of this process is always connected
            return _StreamCall(self._handler(method).unary_stream, request, timeout, metadata)

        return start

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Callable[..., _DialogueCall]:
        """Return the callable of a method that streams both ways."""

        def start(
            request_iterator: AsyncIterable[Any] | None = None,
            *,
            timeout: float | None = None,
            metadata: Any = (),
            wait_for_ready: bool | None = None,
        ) -> _DialogueCall:
            del wait_for_ready  # a servicer of this process is always connected
            behaviour = self._handler(method).stream_stream
            return _DialogueCall(behaviour, request_iterator, timeout, metadata)

        return start

    async def close(self, grace: float | None = None) -> None:
        """Do nothing: the servicers belong to their servers."""

    def _handler(self, method: str) -> Any:
        handler = self._server.handlers.get(method)
        if handler is None:
            raise _error(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served here", ())
        return handler


class _Context:
    """The servicer's side of one call, as `aio.ServicerContext` has it."""

    def __init__(self, deadline: float | None, metadata: Any) -> None:
        self._deadline = deadline
        self._metadata = aio.Metadata(*(metadata or ()))
        self.trailing: tuple[Any, ...] = ()
        self.error: aio.AioRpcError | None = None

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        self.error = _error(code, details, trailing_metadata or self.trailing)
        raise aio.AbortError(details)

    def invocation_metadata(self) -> Any:
        return self._metadata

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> tuple[Any, ...]:
        return self.trailing

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Accepted and dropped: no caller in this process reads initial metadata."""

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def peer(self) -> str:
        return "inprocess"

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}


class _Call:
    """What both kinds of call share: a task, its deadline and cancellation from outside."""

    def __init__(self, timeout: float | None, metadata: Any) -> None:
        self._timeout = timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        self._context = _Context(deadline, metadata)
        self._task: asyncio.Task[Any] | None = None

    def cancel(self) -> bool:
        """End the call; the servicer sees CancelledError and runs its `finally`."""
        return self._task.cancel() if self._task is not None else False

    def done(self) -> bool:
        return self._task is not None and self._task.done()

    async def trailing_metadata(self) -> aio.Metadata:
        """Wait for the end of the call and return what the servicer told with it."""
        if self._task is not None:
            await asyncio.wait({self._task})
        error = self._context.error
        return aio.Metadata(*self._context.trailing) if error is None else error.trailing_metadata()

    def __del__(self) -> None:
        """End a call that nobody holds any more: there is no connection whose loss would."""
        if self._task is not None and not self._task.done():
            with contextlib.suppress(RuntimeError):  # the loop may be gone already
                self._task.cancel()

    def _start(self, begin: Callable[[_Context], Awaitable[Any]]) -> None:
        # The task must not refer to the call, or a call let go would never end.
        self._task = asyncio.ensure_future(_bounded(begin, self._timeout, self._context))


async def _bounded(
    begin: Callable[[_Context], Awaitable[Any]], limit: float | None, context: _Context
) -> Any:
    try:
        async with asyncio.timeout(limit):
            # Begun here: a call that is over before its first step leaves no coroutine behind.
            return await begin(context)
    except aio.AbortError:
        if context.error is None:
            raise
        raise context.error from None
    except TimeoutError:
        raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ()) from None


class _UnaryCall(_Call):
    """An awaitable call with one answer."""

    def __init__(self, behaviour: Any, request: Any, timeout: float | None, metadata: Any) -> None:
        super().__init__(timeout, metadata)
        self._start(lambda context: behaviour(request, context))

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._task is None:
            raise RuntimeError("the call was never started")
        return (yield from self._task)  # a generator, so that it holds the call until its end


class _StreamCall(_Call):
    """A call with a stream of answers; the servicer runs ahead by a bounded number of events."""

    def __init__(self, behaviour: Any, request: Any, timeout: float | None, metadata: Any) -> None:
        super().__init__(timeout, metadata)
        self._events = _Handover()
        self._read_all = False
        events = self._events
        self._start(lambda context: _pump(behaviour(request, context), events))
        if self._task is not None:
            self._task.add_done_callback(events.end)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Return the call itself: a second loop goes on where the first one stopped."""
        return self

    async def __anext__(self) -> Any:
        if self._read_all:
            raise StopAsyncIteration
        try:
            event = await self._next()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if event is _END:
            self._read_all = True
            raise StopAsyncIteration
        return event

    async def _next(self) -> Any:
        """Return the next event; raise what ended the call once its events are read."""
        event = await self._events.get()
        if event is _END and self._task is not None:
            await self._task
        return event


class _Handover:
    """Events on their way from one servicer to one reader; so many may wait for that."""

    def __init__(self) -> None:
        self._events: deque[Any] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    async def put(self, event: Any) -> None:
        """Add an event; waits while as many wait as may."""
        while len(self._events) >= _BUFFERED_EVENTS:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        self._events.append(event)
        _wake(self._reader)

    def end(self, _: object = None) -> None:
        """Take in that no more will come."""
        self._ended = True
        _wake(self._reader)

    async def get(self) -> Any:
        """Return the next event, `_END` once there is none any more."""
        while not self._events:
            if self._ended:
                return _END
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        event = self._events.popleft()
        _wake(self._writer)
        return event


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


class _DialogueCall(_StreamCall):
    """A call that streams both ways: requests come from an iterator, or by `write`."""

    def __init__(
        self,
        behaviour: Any,
        requests: AsyncIterable[Any] | None,
        timeout: float | None,
        metadata: Any,
    ) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue(_BUFFERED_EVENTS)
        given = requests if requests is not None else _until_end(self._requests)
        super().__init__(behaviour, aiter(given), timeout, metadata)

    async def write(self, request: Any) -> None:
        """Send a request; waits while too many are not read yet, and for nobody once it is over."""
        putting = asyncio.ensure_future(self._requests.put(request))
        waited = {putting} if self._task is None else {putting, self._task}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()

    async def done_writing(self) -> None:
        """Tell that no more requests will come."""
        await self.write(_END)

    async def read(self) -> Any:
        """Return the next answer; `aio.EOF` at the end."""
        return await anext(self, aio.EOF)


async def _until_end(requests: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (request := await requests.get()) is not _END:
        yield request


async def _pump(events: Any, handover: _Handover) -> None:
    try:
        async for event in events:
            await handover.put(event)
    finally:
        await events.aclose()


def _error(code: Any, details: str, trailing: Any) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing), details=details)
