"""The same latencies with gateways, selector, cache and echo in processes of their own."""

import asyncio
import contextlib
import json
import sys
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

from grpc import aio
from tests.benchmarks.cache_echo import apart
from tests.benchmarks.cache_suite import Instant, latencies, register, until_routable
from tests.support.ports import free_ports

from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub


def _configure(folder, model):
    """Write a file per gateway, with and without memory of its own; all else is the same."""
    selector, cache, *gateways = free_ports(4)
    paths = []
    for number, room in enumerate((32 << 20, 0)):
        gateway = {
            "port": gateways[number],
            "selector_address": f"127.0.0.1:{selector}",
            "cache_address": f"127.0.0.1:{cache}",
            "cache_memory_max_bytes": room,
            "http_port": None,
        }
        body = {
            "gateway": gateway,
            "selector": {"port": selector, "inference_addresses": [model]},
            "cache": {"port": cache, "disk_path": str(folder / "answers")},
        }
        path = folder / f"{number}.yaml"
        path.write_text(json.dumps(body))
        paths.append((path, gateway["port"]))
    return paths


@contextlib.asynccontextmanager
async def _program(name, path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"llmrouter.{name}", "--config", str(path),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def measure_apart():
    """Return what `measure_latency` does, each name with `apart_` before it."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = aio.server()
        register(server, Instant())
        model = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        stack.push_async_callback(server.stop, 0)
        paths = _configure(folder, model)
        for name, path in (("selector", paths[0][0]), ("cache", paths[0][0])):
            await stack.enter_async_context(_program(name, path))
        stubs = []
        for path, port in paths:
            await stack.enter_async_context(_program("gateway", path))
            channel = await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{port}"))
            await asyncio.wait_for(channel.channel_ready(), 30)
            stubs.append(GatewayServiceStub(channel))
            await until_routable(stubs[-1])
        numbers = count()
        echoing = partial(_echoing, folder, numbers)
        figures = await latencies(*stubs, echoing)
    return {f"apart_{name}": value for name, value in figures.items()}


def _echoing(folder, numbers, whole, events):
    return apart(folder / f"echo-{next(numbers)}", whole, events)
