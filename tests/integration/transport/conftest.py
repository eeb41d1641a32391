"""The same servicer behind a socket and inside the process."""

import contextlib

import pytest
from grpc import aio
from tests.integration.transport.neighbours import Suite

from llmrouter.common.dialling import Dialler
from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.listening import Listening
from llmrouter.common.server import OPTIONS
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.neighbours import neighbours_of
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.servicer import GatewayServicer
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub, add_GatewayServiceServicer_to_server
from llmrouter.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from llmrouter.v1.selector_pb2_grpc import add_SelectorServiceServicer_to_server


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


@pytest.fixture
def anonymous():
    return "loopback"


@pytest.fixture
async def suite(serve, anonymous):
    built = Suite()
    add = [
        (add_SelectorServiceServicer_to_server, built.selector),
        (add_CacheServiceServicer_to_server, built.cache),
        (add_InferenceServiceServicer_to_server, built.inference),
    ]
    selector, cache, inference = [
        await serve(lambda server, add=add, servicer=servicer: add(servicer, server))
        for add, servicer in add
    ]
    settings = GatewaySettings(default_deadline_seconds=2, max_deadline_seconds=20)
    channels = {"broken:1": inference, "working:1": inference}
    channels |= {settings.selector_address: selector, settings.cache_address: cache}
    neighbours = neighbours_of(settings, Dialler(channels))
    policy = Policy(settings.safety)
    shared = Shared(near=NearCache(1 << 20), serves=lambda *_: True, policy=policy)
    gateway = GatewayServicer(
        build_pipeline(settings, neighbours, shared).generator,
        build_embedding(neighbours),
        neighbours.selector,
        Identity(built.keys, anonymous, built.keys),
        settings,
    )
    channel = await serve(lambda server: add_GatewayServiceServicer_to_server(gateway, server))
    built.stub = GatewayServiceStub(channel)
    return built
