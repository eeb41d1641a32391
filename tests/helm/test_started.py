"""The services of the chart started as their pods start them, on this machine for a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
import redis
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.helm.conftest import named, of_kind, render
from tests.integration.suite.conftest import SERVICES, store, wait_until_routable
from tests.support.ports import free_ports
from tests.support.redis_server import redis_server
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
__all__ = ["redis_server", "store"]

EVERYTHING = (
    'inference.defaults.autoscaling={"kind": "keda", "max": 2}',
    'gateway.autoscaling={"enabled": true, "calls": 8}',
    'redis={"address": "valkey:6379", "passwordSecret": {"name": "valkey"}}',
    'gateway.keysSecret="keys"',
    'gateway.settings={"identity": {"anonymous": "never"}}',
    'gateway.settings.limits={"rules": [{"name": "all", "requests_per_hour": 1000}]}',
    'test={"question": "ab", "apiKeySecret": {"name": "test"}}',
)
PASSWORD = "a password of this test"  # noqa: S105 - made up here
LLMROUTER = str(Path(sys.executable).with_name("llmrouter"))
COMPONENTS = {name: name for name in SERVICES} | {"inference": "inference-main"}


def written(objects, folder, store, redis_address):
    """Write what each pod would mount, with ports and folders of this machine; return its ports."""
    kinds = ("port", "health_port", "metrics")
    absent, http, *free = free_ports(2 + 3 * len(SERVICES))
    ports = {name: dict(zip(kinds, free[3 * n :], strict=False)) for n, name in enumerate(SERVICES)}
    for name, component in COMPONENTS.items():
        text = named(objects, "ConfigMap", component)["data"]["llmrouter.yaml"]
        text = text.replace("/var/lib/llmrouter/models", str(store))
        text = text.replace("/var/lib/llmrouter", str(folder / name))
        text = text.replace("/etc/llmrouter-", str(folder / "etc-"))
        text = text.replace("valkey:6379", redis_address)
        # The second replica of the pool is not there, as before a scaler has made it.
        text = re.sub(r"rel-llmrouter-inference-main-1[\w.-]*:50054", f"127.0.0.1:{absent}", text)
        for other, its in ports.items():
            host = rf"rel-llmrouter-{COMPONENTS[other]}[\w.-]*:5005\d"
            text = re.sub(host, f"127.0.0.1:{its['port']}", text)
        config = yaml.safe_load(text)
        config[name] |= {"host": "127.0.0.1", "port": ports[name]["port"]}
        config[name]["health_port"] = ports[name]["health_port"]
        if name == "gateway":
            config[name]["http_port"] = http
        page = config["telemetry"]["prometheus"]
        page |= {"host": "127.0.0.1", "port": ports[name]["metrics"]}
        (folder / name).mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(json.dumps(config))
    return ports


def container_of(objects, component):
    kind = "Deployment" if component == "gateway" else "StatefulSet"
    [container] = named(objects, kind, component)["spec"]["template"]["spec"]["containers"]
    return container


@contextlib.asynccontextmanager
async def started(objects, folder):
    """Run the commands of the pods, with their variables."""
    running = []
    try:
        for name, component in COMPONENTS.items():
            container = container_of(objects, component)
            told = {one["name"]: one["value"] for one in container["env"]}
            assert Path(told["LLMROUTER_CONFIG"]).parent == Path(
                next(
                    one["mountPath"] for one in container["volumeMounts"] if one["name"] == "config"
                )
            )
            told["LLMROUTER_CONFIG"] = str(folder / f"{name}.yaml")
            running.append(
                await asyncio.create_subprocess_exec(
                    LLMROUTER, *container["args"], env={**os.environ, **told}
                )
            )
        yield
    finally:
        for process in running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()


async def health(port, service):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)).status


async def until_ready(port):
    """Wait until a service wants requests; four that start at once take long on a busy machine."""

    async def ready():
        with contextlib.suppress(grpc.aio.AioRpcError):
            return await health(port, "") == health_pb2.HealthCheckResponse.SERVING

    await until(ready, 100, pause=0.3)


async def page(port):
    def read():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(read)


async def told(*command, **variables):
    """Run a command of ours; return what it wrote, once it has succeeded."""
    process = await asyncio.create_subprocess_exec(
        LLMROUTER, *command, env={**os.environ, **variables}, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return said.decode()


async def with_secrets(folder):
    """Write what the Secrets hold, the keys as the chart's README says; return a key."""
    (folder / "etc-redis").mkdir()
    (folder / "etc-redis/password").write_text(PASSWORD)
    (folder / "etc-keys").mkdir()
    kept = str(folder / "etc-keys/keys.sqlite")
    made = await told("keys", "create", "me", LLMROUTER_GATEWAY__IDENTITY__KEY_STORE=kept,
                      XDG_DATA_HOME=str(folder / "own"))  # fmt: skip
    return made.strip()


async def asked(objects, address, key):
    """Do as the pod of `helm test` does."""
    [container] = named(objects, "Pod", "question")["spec"]["containers"]
    [variable] = container["env"]
    arguments = [
        f"--address={address}" if one.startswith("--address=") else one for one in container["args"]
    ]
    return await told(*arguments, **{variable["name"]: key})


async def until_scaled(port):
    """Wait until the selector has looked at a load that it has heard of."""

    async def scaled():
        return "llm_desired_replicas{" in await page(port)

    await until(scaled, pause=0.5)


async def test_pods_start_by_what_they_mount_answer_and_show_what_scalers_follow(
    tmp_path, store, redis_server
):
    objects = render(*EVERYTHING)
    ports = written(objects, tmp_path, store, redis_server.address)
    key = await with_secrets(tmp_path)
    with redis.Redis(port=redis_server.port) as server:
        server.config_set("requirepass", PASSWORD)
    async with started(objects, tmp_path):
        for name in SERVICES:
            await until_ready(ports[name]["health_port"])
        gateway = ports["gateway"]["port"]
        await wait_until_routable(gateway, key)
        for name, component in COMPONENTS.items():
            container = container_of(objects, component)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                part = container[probe]["grpc"].get("service", "")
                status = await health(ports[name]["health_port"], part)
                assert status == health_pb2.HealthCheckResponse.SERVING, (name, probe)
        assert await asked(objects, f"127.0.0.1:{gateway}", key)
        await until_scaled(ports["selector"]["metrics"])
        pages = {name: await page(ports[name]["metrics"]) for name in SERVICES}
    assert "rpc_server_active_calls" in pages["gateway"]
    [scaled] = of_kind(objects, "ScaledObject")
    queries = " ".join(one["metadata"]["query"] for one in scaled["spec"]["triggers"])
    for metric in re.findall(r"llm_\w+", queries):
        assert metric in pages["selector"] + pages["inference"], metric
    pool = re.search(r'llm_desired_replicas\{[^}]*pool="([^"]+)"[^}]*\} (\S+)', pages["selector"])
    assert (pool[1], float(pool[2])) == ("rel-llmrouter-inference-main", 1)
    for kept in ("gateway/ledger.sqlite", "selector/selector.sqlite"):
        assert (tmp_path / kept).exists(), kept
    with redis.Redis(port=redis_server.port, password=PASSWORD) as server:
        assert any(name.startswith(b"llmrouter") for name in server.keys("*"))
