"""What the channel without a wire does beyond being the same as a socket."""

import asyncio

import grpc
import pytest
from grpc import aio

from llmrouter.common.guard import Gate
from llmrouter.common.inprocess import InProcessChannel, InProcessServer


def channel_to(behaviour):
    server = InProcessServer(Gate("tested"))
    handler = grpc.unary_stream_rpc_method_handler(behaviour)
    server.add_registered_method_handlers("a.B", {"Watch": handler})
    return InProcessChannel(server)


async def test_a_call_that_nobody_holds_any_more_ends():
    ended = asyncio.Event()

    async def hangs(request, context):
        try:
            yield request
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = channel_to(hangs).unary_stream("/a.B/Watch")("a")
    async for _ in call:
        break
    del call
    await asyncio.wait_for(ended.wait(), 30)


async def test_a_message_is_handed_over_and_not_copied():
    async def echoes(request, context):
        yield request

    message = object()
    call = channel_to(echoes).unary_stream("/a.B/Watch")(message)
    assert [event async for event in call][0] is message  # noqa: RUF015


def test_a_method_that_is_not_served_is_unimplemented():
    with pytest.raises(aio.AioRpcError) as failure:
        InProcessChannel(InProcessServer(Gate("tested"))).unary_unary("/a.B/Other")("a")
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
