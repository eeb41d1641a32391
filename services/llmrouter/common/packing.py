"""Compresses large messages for callers who ask for it, and nothing for anybody else.

Measured on prose: gzip brings 1 KiB, 4 KiB and 64 KiB to 57, 47 and 38 % for 12, 28 and 1,200 us of
processor on each side, vectors to 93 %, and makes deltas larger. It pays below some 150 Mbit/s.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from llmrouter.common.closing import closing_stream

__all__ = ["COMPRESSION_KEY", "PackingInterceptor"]

COMPRESSION_KEY = "x-llmrouter-compression"
"""Metadata of callers who ask: `gzip`. gRPC's own headers are not shown to servers."""
_GZIP = "gzip"
_OURS = "/llmrouter."


class PackingInterceptor(aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]  # Any where stubs lack
    """Stands inside the guard.

    Args:
        least_bytes: Smaller messages are sent as they are; None sends all so.
    """

    def __init__(self, least_bytes: int | None) -> None:
        self._least_bytes = least_bytes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return a handler that compresses what it answers with."""
        handler, least = await continuation(handler_call_details), self._least_bytes
        if handler is None or least is None or not handler_call_details.method.startswith(_OURS):
            return handler
        wire = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            packed = _stream(handler.stream_stream, least)
            return grpc.stream_stream_rpc_method_handler(packed, *wire)
        if handler.response_streaming:
            packed = _stream(handler.unary_stream, least)
            return grpc.unary_stream_rpc_method_handler(packed, *wire)
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, least), *wire)


def _asks(context: Any) -> bool:
    return any(one == (COMPRESSION_KEY, _GZIP) for one in context.invocation_metadata() or ())


def _unary(call: Callable[..., Awaitable[Any]], least: int) -> Callable[..., Awaitable[Any]]:
    async def behaviour(request: Any, context: Any) -> Any:
        asks = _asks(context)
        if asks:  # before the call, which may send its initial metadata itself
            context.set_compression(grpc.Compression.Gzip)
        answer = await call(request, context)
        if asks and answer.ByteSize() < least:
            context.disable_next_message_compression()
        return answer

    return behaviour


def _stream(
    call: Callable[..., AsyncIterator[Any]], least: int
) -> Callable[..., AsyncIterator[Any]]:
    def behaviour(request: Any, context: Any) -> AsyncIterator[Any]:
        events = call(request, context)
        return _packed(events, context, least) if _asks(context) else events

    return behaviour


async def _packed(events: AsyncIterator[Any], context: Any, least: int) -> AsyncGenerator[Any]:
    context.set_compression(grpc.Compression.Gzip)
    async with closing_stream(events) as stream:
        async for event in stream:
            if event.ByteSize() < least:
                context.disable_next_message_compression()
            yield event
