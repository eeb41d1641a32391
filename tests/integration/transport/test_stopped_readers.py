"""A caller over a socket who stops reading: the call ends, and frees what it holds."""

import asyncio
import contextlib

import grpc
import pytest
from grpc import aio

from llmrouter.common.errors import Reason
from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.listening import Listening
from llmrouter.common.server import OPTIONS
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.settings import GatewaySettings

NARROW = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]


class Endless(grpc.GenericRpcHandler):
    """Streams without end."""

    def __init__(self):
        self.ended = asyncio.Event()

    def service(self, details):
        del details
        return grpc.unary_stream_rpc_method_handler(self.stream)

    async def stream(self, request, context):
        del request, context
        try:
            while True:
                yield b"x" * 40_000
        finally:
            self.ended.set()


@contextlib.asynccontextmanager
async def calling(handler, patience, **options):
    """Call, and read the first message."""
    gate = Gate("tested")
    server = aio.server(interceptors=[GuardInterceptor(gate, patience)], options=OPTIONS)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}", NARROW) as channel:
        call = channel.unary_stream("/some/Method")(b"", **options)
        await call.read()
        yield call, gate
    await server.stop(0)


async def read_all(call):
    while await call.read() is not aio.EOF:
        pass


async def end_of(call):
    with pytest.raises(aio.AioRpcError) as ended:
        await read_all(call)
    return from_rpc_error(ended.value, "tested").reason


async def test_a_call_without_a_deadline_ends_when_its_reader_has_stopped():
    handler = Endless()
    async with calling(handler, lambda left: 0.1 if left is None else left) as (call, gate):
        async with asyncio.timeout(30):
            await handler.ended.wait()
            await gate.wait_idle()
            assert await end_of(call) is Reason.SLOW_READER


async def test_a_deadline_ends_the_call_of_a_reader_who_has_stopped():
    handler = Endless()
    async with calling(handler, Listening().patience, timeout=1) as (call, gate):
        async with asyncio.timeout(30):
            await handler.ended.wait()
            await gate.wait_idle()
            assert await end_of(call) is Reason.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("left", "seconds"), [(None, 5), (2, 2), (1e9, 7)])
def test_a_message_may_wait_as_long_as_its_request_may_last(left, seconds):
    settings = GatewaySettings(default_deadline_seconds=5, max_deadline_seconds=7)
    assert settings.patience(left) == seconds
