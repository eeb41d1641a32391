"""Streams that anybody may hold open, ended when they are as old as a connection may get."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from llmrouter.common.guard import UNGUARDED, status_leaving

__all__ = ["AgeingInterceptor"]

_AGED = "this stream is as old as a connection may get; ask anew"


class AgeingInterceptor(aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]  # Any where stubs lack
    """Ends streams of health and reflection, which ask for no credential, with UNAVAILABLE.

    A connection stays past its age while a call runs on it, so that who watches the health of a
    service, say, would hold one for ever.

    Args:
        seconds: The age of a stream at which it ends.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler, with an end where it is one of those streams."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(UNGUARDED):
            return handler
        parts = (handler.request_deserializer, handler.response_serializer)
        if handler.stream_stream is not None:
            ending = _ending(handler.stream_stream, self._seconds)
            return grpc.stream_stream_rpc_method_handler(ending, *parts)
        if handler.unary_stream is not None:
            ending = _ending(handler.unary_stream, self._seconds)
            return grpc.unary_stream_rpc_method_handler(ending, *parts)
        return handler


def _ending(stream: Callable[..., Any], seconds: float) -> Callable[..., Awaitable[None]]:
    async def behaviour(request: Any, context: Any) -> None:
        try:
            async with asyncio.timeout(seconds):
                answering = stream(request, context)
                if inspect.isawaitable(answering):  # it writes itself
                    await answering
                    return
                async with contextlib.aclosing(answering) as answers:
                    async for answer in answers:
                        await context.write(answer)
        except TimeoutError:
            await _end(context)

    return behaviour


async def _end(context: Any) -> None:
    async with status_leaving():
        await context.abort(grpc.StatusCode.UNAVAILABLE, _AGED)
