"""The same servicer behind a socket and inside the process."""

import contextlib

import pytest
from grpc import aio

from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.listening import Listening
from llmrouter.common.server import OPTIONS


@contextlib.asynccontextmanager
async def socket_channel(register, gate):
    server = aio.server(
        interceptors=[GuardInterceptor(gate, Listening().patience)], options=OPTIONS
    )
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


@contextlib.asynccontextmanager
async def inprocess_channel(register, gate):
    server = InProcessServer(gate)
    register(server)
    yield InProcessChannel(server)


@pytest.fixture(params=[socket_channel, inprocess_channel], ids=["socket", "inprocess"])
async def serve(request):
    """Return a function that serves what is registered and gives a channel to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(register, gate=None):
            channel = request.param(register, gate or Gate("tested"))
            return await stack.enter_async_context(channel)

        yield start
