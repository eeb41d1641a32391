"""A store with one tiny real model, and the suite over it in one process or in four."""

import asyncio
import contextlib
import json
import os
import signal
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.engine.tiny_model import write_tiny_folder
from tests.support.ports import free_ports
from tests.support.redis_server import redis_server
from tests.support.waiting import until

from llmrouter import suite
from llmrouter.v1 import cache_pb2, gateway_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub

__all__ = ["redis_server"]

SERVICES = ("inference", "selector", "cache", "gateway")
START_SECONDS = 40


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    folder = root / "tiny"
    folder.mkdir()
    write_tiny_folder(folder)
    return root


@pytest.fixture
def config(tmp_path, store):
    """A configuration on free ports; JSON is YAML."""
    ports = dict(zip((*SERVICES, "http"), free_ports(5), strict=True))
    body = {
        "gateway": {
            "port": ports["gateway"],
            "http_port": ports["http"],
            "selector_address": f"127.0.0.1:{ports['selector']}",
            "cache_address": f"127.0.0.1:{ports['cache']}",
            "cache_timeout_seconds": 10,  # on a busy machine an answer would be generated twice
            "identity": {"anonymous": "loopback", "key_store": str(tmp_path / "keys.sqlite")}
            | {"audit_file": str(tmp_path / "audit.jsonl")},
        },
        "selector": {
            "port": ports["selector"],
            "inference_addresses": [f"127.0.0.1:{ports['inference']}"],
            "refresh_interval_seconds": 0.2,
        },
        "cache": {"port": ports["cache"], "disk_path": str(tmp_path / "answers")},
        "inference": {"port": ports["inference"], "store": str(store), "slots": 4},
    }
    path = tmp_path / "llmrouter.yaml"
    path.write_text(json.dumps(body))
    return path, ports


async def wait_until_ready(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), START_SECONDS)
        stub = health_pb2_grpc.HealthStub(channel)

        async def ready():
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        await until(ready, START_SECONDS, pause=0.1)


async def wait_until_routable(port, key=None):
    """Wait until the gateway has found the selector, and the selector our models."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GatewayServiceStub(channel)

        async def routable():
            with contextlib.suppress(grpc.aio.AioRpcError):  # it looked before the selector was up
                request = gateway_pb2.ListModelsRequest()
                found = await stub.ListModels(request, timeout=5, metadata=bearing(key))
                return any(model.addresses for model in found.models)

        await until(routable, START_SECONDS, pause=0.1)


async def wait_until_followed(port):
    """Wait until the gateway follows the cache: until then it keeps nothing, and asks in vain."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = CacheServiceStub(channel)

        async def followed():
            told = await stub.GetStatistics(cache_pb2.GetStatisticsRequest(), timeout=5)
            return told.gateways

        await until(followed, START_SECONDS, pause=0.1)


def bearing(key):
    return None if key is None else (("authorization", f"Bearer {key}"),)


@contextlib.asynccontextmanager
async def programs(path):
    """Each service as a program of its own, starting; yields the processes by name."""
    running = {}
    try:
        for name in SERVICES:
            running[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"llmrouter.{name}", "--config", str(path),
                stderr=asyncio.subprocess.PIPE, env={**os.environ, "LLMROUTER_ENV": "production"},
            )  # fmt: skip
        yield running
    finally:
        for process in running.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in running.values():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.communicate(), 20)
            if process.returncode is None:
                process.kill()


@contextlib.asynccontextmanager
async def four_processes(path, ports, key=None):
    """The programs once they answer; yields the processes by name."""
    async with programs(path) as running:
        for name in SERVICES:
            await wait_until_ready(ports[name])
        await wait_until_routable(ports["gateway"], key)
        await wait_until_followed(ports["cache"])
        yield running


@pytest.fixture(params=["one process", "four processes"])
async def gateway(request, config):
    """Address of the gateway of a running suite."""
    path, ports = config
    if request.param == "one process":
        async with suite.running(path) as addresses:
            yield addresses.gateway
    else:
        async with four_processes(path, ports):
            yield f"127.0.0.1:{ports['gateway']}"
