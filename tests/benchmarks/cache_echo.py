"""An echo: a grpc.aio server that answers with what it was given, here or as a program."""

import asyncio
import contextlib
import sys
from pathlib import Path

import grpc
from grpc import aio

from llmrouter.v1 import gateway_pb2
from llmrouter.v1 import generation_pb2 as g


class Echo:
    """Answers with what it is told to, through nothing but gRPC."""

    def __init__(self, whole, events):
        self.whole, self.events = whole, events

    async def unary(self, request, context):
        return self.whole

    async def stream(self, request, context):
        for event in self.events:
            yield event

    def handler(self):
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(
                self.unary, g.GenerateRequest.FromString,
                gateway_pb2.GenerateResponse.SerializeToString,
            ),
            "Stream": grpc.unary_stream_rpc_method_handler(
                self.stream, gateway_pb2.StreamGenerateRequest.FromString,
                gateway_pb2.StreamGenerateResponse.SerializeToString,
            ),
        }  # fmt: skip
        return grpc.method_handlers_generic_handler("Echo", methods)


@contextlib.asynccontextmanager
async def serving(whole, events):
    """Serve in this process; yields `host:port`."""
    server = aio.server()
    server.add_generic_rpc_handlers((Echo(whole, events).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@contextlib.asynccontextmanager
async def calling(address):
    """Yield the unary call and the streamed one."""
    async with aio.insecure_channel(address) as channel:
        unary = channel.unary_unary(
            "/Echo/Unary", g.GenerateRequest.SerializeToString,
            gateway_pb2.GenerateResponse.FromString,
        )  # fmt: skip
        stream = channel.unary_stream(
            "/Echo/Stream", gateway_pb2.StreamGenerateRequest.SerializeToString,
            gateway_pb2.StreamGenerateResponse.FromString,
        )  # fmt: skip

        async def streamed(request):
            call = stream(gateway_pb2.StreamGenerateRequest(request=request))
            return [event async for event in call]

        yield unary, streamed


@contextlib.asynccontextmanager
async def apart(folder, whole, events):
    """Serve in a process of its own; yields `host:port`."""
    await asyncio.to_thread(_write, folder, whole, events)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.cache_echo", str(folder),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


def _write(folder, whole, events):
    folder.mkdir()
    for name, message in [("whole", whole), *((f"{at:04}", one) for at, one in enumerate(events))]:
        (folder / name).write_bytes(message.SerializeToString())


async def _main(folder):
    whole = gateway_pb2.GenerateResponse.FromString((folder / "whole").read_bytes())
    events = [
        gateway_pb2.StreamGenerateResponse.FromString(path.read_bytes())
        for path in sorted(folder.glob("0*"))
    ]
    async with serving(whole, events) as address:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
