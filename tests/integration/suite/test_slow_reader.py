"""A client that stops reading: its slot goes to others, and it misses nothing once it reads on."""

import asyncio
import contextlib
import json
import socket

import grpc
import pytest
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder
from tests.support.waiting import until

from llmrouter import suite
from llmrouter.v1 import gateway_pb2, generation_pb2, model_pb2
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient

TOKENS = 14_000
LONG = generation_pb2.SamplingOptions(
    temperature=1.0, max_tokens=TOKENS, min_tokens=TOKENS, logprobs=True, top_logprobs=20, seed=1
)


async def test_a_client_that_does_not_read_gives_its_slot_up_until_it_does(config, tmp_path):
    path, _ = config
    write_tiny_folder(tmp_path / "store" / "tall", TinyShape(context=16_384))
    async with suite.running(path, store=tmp_path / "store") as addresses:
        # A window of this size is all that the transport itself takes from the server.
        options = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(addresses.gateway, options) as channel:
            request = generation_pb2.GenerateRequest(prompt="abcd", sampling=LONG)
            call = GatewayServiceStub(channel).StreamGenerate(
                gateway_pb2.StreamGenerateRequest(request=request), timeout=120
            )
            await call.read()
            statistics = await until_nothing_runs(addresses.inference)
            assert statistics.completion_tokens < TOKENS
            async with AsyncClient(addresses.gateway) as other:
                assert (await other.generate("hi", max_tokens=2)).usage.completion_tokens == 2
            assert await tokens_of(call) == TOKENS


async def test_over_http_it_misses_nothing_either(config, tmp_path):
    path, ports = config
    write_tiny_folder(tmp_path / "store" / "tall", TinyShape(context=16_384))
    body = {"model": "auto", "prompt": "abcd", "stream": True, "logprobs": 20, "seed": 1}
    asked = json.dumps({**body, "max_tokens": TOKENS, "min_tokens": TOKENS}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(asked)}\r\n\r\n"
    async with suite.running(path, store=tmp_path / "store") as addresses:
        reader, writer = await narrow_connection(ports["http"])
        writer.write(head.encode() + asked)
        assert b"200" in await reader.readline()
        await until_nothing_runs(addresses.inference)
        async with AsyncClient(addresses.gateway) as other:
            assert (await other.generate("hi", max_tokens=2)).usage.completion_tokens == 2
        async with asyncio.timeout(60):
            last = await end_of(reader)
        writer.close()
    assert b"[DONE]" in last


@pytest.mark.parametrize("reads", [True, False])
async def test_no_stream_over_http_outlives_the_drain(config, tmp_path, reads):
    path, ports = config
    settings = json.loads(path.read_text())
    settings["gateway"]["drain_grace_seconds"] = 0.2
    path.write_text(json.dumps(settings))
    write_tiny_folder(tmp_path / "store" / "tall", TinyShape(context=16_384))
    asked = json.dumps(
        {"model": "auto", "prompt": "abcd", "stream": True, "logprobs": 0 if reads else 20}
        | {"max_tokens": 16_000, "min_tokens": 16_000}
    ).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(asked)}\r\n\r\n"
    running = suite.running(path, store=tmp_path / "store")
    async with asyncio.timeout(60):
        await running.__aenter__()
        reader, writer = await narrow_connection(ports["http"])
        writer.write(head.encode() + asked)
        await reader.readuntil(b"data: ")
        reading = asyncio.create_task(reader.read() if reads else asyncio.sleep(0, b""))
        await running.__aexit__(None, None, None)
        with contextlib.suppress(ConnectionResetError):
            assert b"[DONE]" not in await reading
    writer.close()
    assert not [task for task in asyncio.all_tasks() if "run_asgi" in repr(task.get_coro())]


async def end_of(reader):
    """Read to the last chunk of an answer, and return its last bytes."""
    last = b""
    while not last.endswith(b"\r\n0\r\n\r\n"):
        last = (last + await reader.read(65_536))[-1000:]
    return last


async def narrow_connection(port):
    """Connect with little room for what is not read yet."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    one.connect(("127.0.0.1", port))
    return await asyncio.open_connection(sock=one, limit=65_536)


async def until_nothing_runs(address):
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ModelServiceStub(channel)

        async def idle():
            listed = await stub.List(model_pb2.ModelServiceListRequest())
            statistics = listed.models[0].statistics
            return None if statistics.running else statistics

        return await until(idle, 90, pause=0.1)


async def tokens_of(call):
    told = 0
    while (response := await call.read()) is not grpc.aio.EOF:
        told += len(response.event.delta.logprobs)
    return told
