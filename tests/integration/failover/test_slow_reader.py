"""What a reader who falls behind makes the suite hold, in bytes: never in seconds."""

import asyncio

import pytest
from grpc import aio
from tests.support.suite_before import suite_before
from tests.support.upstream import upstream

from llmrouter.v1 import gateway_pb2, model_pb2
from llmrouter.v1 import generation_pb2 as g
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub
from llmrouter.v1.model_pb2_grpc import ModelServiceStub

MOST = 40 << 10
"""The rest of 64 KiB is the engine's, whose buffer its own tests measure."""
WINDOW = 16 << 10
"""What the caller's own side of the connection takes in, and holds."""
OPTIONS = [("grpc.http2.lookahead_bytes", WINDOW), ("grpc.http2.bdp_probe", 0)]
TOKENS = 100_000
AROUND = 13
"""Bytes of a delta's message beside its text, gRPC's own five included."""
MERGED = {"StreamGenerate": 0, "Converse": 16 << 10}
"""Bytes of text that wait as one delta, with nothing around what it was merged from."""


async def said(upstream):
    async with aio.insecure_channel(upstream.address) as channel:
        told = await ModelServiceStub(channel).List(model_pb2.ModelServiceListRequest())
        return told.models[0].statistics.completion_tokens


async def until_it_pauses(upstream):
    """Return how many tokens the model has handed over once that are no more."""
    looks = [-1, -2]
    while len({*looks, now := await said(upstream)}) > 1:
        looks = [looks[-1], now]
        await asyncio.sleep(0.2)
    return now


def asking():
    request = g.GenerateRequest(prompt="Count.", sampling={"max_tokens": TOKENS})
    return gateway_pb2.StreamGenerateRequest(request=request)


def converse():
    first = gateway_pb2.ConverseRequest(options={"sampling": {"max_tokens": TOKENS}})
    said = {"role": g.ROLE_USER, "content": [{"text": "Count."}]}
    return [first, gateway_pb2.ConverseRequest(turn={"messages": [said]})]


@pytest.mark.parametrize(
    ("call", "size"), [("StreamGenerate", 8), ("StreamGenerate", 100), ("Converse", 100)]
)
async def test_a_reader_that_stops_and_one_that_is_slow_hold_little(call, size):
    async with (
        upstream(tokens=TOKENS, size=size) as one,
        suite_before(one) as address,
        aio.insecure_channel(address, OPTIONS) as channel,
    ):
        stub = GatewayServiceStub(channel)
        if call == "Converse":
            stream = stub.Converse(timeout=120)
            for request in converse():
                await stream.write(request)
        else:
            stream = stub.StreamGenerate(asking(), timeout=120)
        tokens = 0
        for reads in (1, 200):
            for _ in range(reads):
                message = await stream.read()
                tokens += message.event.delta.tokens
            waiting = await until_it_pauses(one) - tokens
            alone = max(0, waiting - MERGED[call] // size)
            assert 0 < waiting * size + alone * AROUND <= MOST + WINDOW
        stream.cancel()
