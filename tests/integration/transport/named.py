"""A service that answers with its own name."""

import asyncio
import contextlib

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llmrouter.common.hosting import Hosted, Service
from llmrouter.common.listening import Listening


class Named:
    """Answers with its own name, once it may."""

    def __init__(self, name):
        self.name = name
        self.peers = set()
        self.second = asyncio.Event()  # set once calls have come on two connections
        self.begun = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()

    async def say(self, request, context):
        self.peers.add(context.peer())
        if len(self.peers) == 2:
            self.second.set()
        self.begun.set()
        await self.may.wait()
        return self.name.encode()

    def register(self, server):
        handler = grpc.unary_unary_rpc_method_handler(self.say)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("test.Named", {"Say": handler})]
        )


@contextlib.asynccontextmanager
async def hosted(named, host="127.0.0.1", port=0, *, start=True, **listening):
    service = Service(
        "cache", "test.Named", named.register, host, port, listening=Listening(**listening)
    )
    host = Hosted(service)
    try:
        address = await host.bind()
        if start:
            await host.start()
        yield address, host
    finally:
        named.may.set()
        await host.stop(grace=5)


def say(channel):
    return channel.unary_unary("/test.Named/Say")(b"", timeout=10)


async def health_of(address, service=""):
    async with aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
