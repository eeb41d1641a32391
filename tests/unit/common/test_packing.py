"""Answers are compressed for who asks for it, whatever their handler sends before."""

from __future__ import annotations

from contextlib import asynccontextmanager

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from grpc import aio

from llmrouter.common.packing import COMPRESSION_KEY, PackingInterceptor

ASKING = ((COMPRESSION_KEY, "gzip"),)
LEAST = 100


@asynccontextmanager
async def calling(handler):
    """Serve one method with one answer behind the interceptor; yields how it is called."""
    server = aio.server(interceptors=[PackingInterceptor(LEAST)])
    wire = BytesValue.FromString, BytesValue.SerializeToString
    methods = {"Say": grpc.unary_unary_rpc_method_handler(handler, *wire)}
    told = grpc.method_handlers_generic_handler("llmrouter.v1.Test", methods)
    server.add_generic_rpc_handlers((told,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(
            "/llmrouter.v1.Test/Say", BytesValue.SerializeToString, BytesValue.FromString
        )
    await server.stop(0)


@pytest.mark.parametrize("size", [LEAST // 2, LEAST * 20])
async def test_a_handler_may_send_its_initial_metadata_itself(size):
    async def say(request, context):
        await context.send_initial_metadata((("accepted", "yes"),))
        return BytesValue(value=request.value * size)

    async with calling(say) as asked:
        call = asked(BytesValue(value=b"a"), metadata=ASKING, timeout=20)
        assert (await call).value == b"a" * size
        assert ("accepted", "yes") in tuple(await call.initial_metadata())


class Context:
    """What a handler may say of compression, in the order in which it was said."""

    def __init__(self, *metadata):
        self.metadata, self.said = metadata, []

    def invocation_metadata(self):
        return self.metadata

    def set_compression(self, compression):
        self.said.append(compression)

    def disable_next_message_compression(self):
        self.said.append("as it is")


@pytest.mark.parametrize(
    ("metadata", "size", "said"),
    [
        (ASKING, LEAST, [grpc.Compression.Gzip]),
        (ASKING, 10, [grpc.Compression.Gzip, "as it is"]),
        ((), LEAST, []),
    ],
)
async def test_what_is_small_is_sent_as_it_is_and_nobody_gets_what_they_did_not_ask_for(
    metadata, size, said
):
    async def say(request, context):
        del request, context
        return BytesValue(value=b"a" * size)

    class Details:
        method = "/llmrouter.v1.Test/Say"

    async def continuation(_):
        return grpc.unary_unary_rpc_method_handler(say)

    handler = await PackingInterceptor(LEAST).intercept_service(continuation, Details())
    context = Context(*metadata)
    await handler.unary_unary(None, context)
    assert context.said == said
