"""The figures of the models' life: importing, loading, replicas, switching, more than fit."""

import asyncio
import contextlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import psutil
from rich.console import Console
from rich.progress import track
from tests.benchmarks.model_import import measure_import
from tests.benchmarks.report import Report

from llmrouter import suite
from llmrouter.common.logs import configure_logs
from llmrouter.common.settings import data_directory
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.folder import folder_bytes
from llmrouter.inference.models.opening import Opener
from llmrouter.v1 import model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient, Finished, LlmrouterError, Started

DEMO = "smollm2-135m-instruct"
LOADS = 9
PAIRS = 3
STREAMS = 16
TARGETS = {
    "load_seconds_median": ("at_most", 1.0),
    "replica_added_over_folder": ("at_most", 0.25),
    "switch_failed_requests": ("at_most", 0.0),
    "switch_cut_streams": ("at_most", 0.0),
    "switch_first_token_during_over_before": ("at_most", 2.0),
    "three_in_two_errors": ("at_most", 0.0),
    "import_seconds": ("at_most", 30.0),
    "import_peak_bytes": ("at_most", 1.2e9),
    "import_perplexity_over_unquantised_int4": ("at_most", 1.08),
}


async def _load_times(folder, weights):
    options = BackendOptions(threads=2, context=2048, shared_weights=weights)
    opener = Opener(OnnxRuntimeBackend, options)
    times = []
    for _ in range(LOADS + 1):
        began = time.perf_counter()
        model = await opener.open(folder)
        times.append(time.perf_counter() - began)
        await model.engine.close()
    return times


def measure_loads(folder, weights):
    """Loading as a service does, checksums included; the first load also orders the weights."""
    first, *warm = asyncio.run(_load_times(folder, weights))
    return {
        "load_seconds_first": first,
        "load_seconds_median": statistics.median(warm),
        "load_seconds_highest": max(warm),
    }


def measure_replicas(folder, weights):
    """What a second process adds to the memory of both when it loads the same folder: medians."""
    pairs = [_pair(folder, weights) for _ in range(PAIRS)]
    loaded, added = (statistics.median(values) for values in zip(*pairs, strict=True))
    return {
        "replica_first_bytes": float(loaded),
        "replica_added_bytes": float(added),
        "replica_added_over_folder": added / folder_bytes(folder.resolve()),
    }


def _pair(folder, weights):
    with _replica(folder, weights) as one:
        before, loaded = _number(one), _number(one)
        with _replica(folder, weights) as two:
            base = _number(two)
            alone = _ask(one)  # with the libraries shared already
            second = _number(two)
            together = _ask(one) + second
    return loaded - before, together - alone - base


@contextlib.contextmanager
def _replica(folder, weights):
    command = [sys.executable, "-m", "tests.benchmarks.model_replica", str(folder), str(weights)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(60)


def _number(process):
    return int(process.stdout.readline())


def _ask(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return _number(process)


@contextlib.asynccontextmanager
async def _running(store, **inference):
    """A suite over `store` on free ports: its client, and the stub of its models."""
    settings = {"context": 512, "prefix_cache_mib": 0, **inference}
    body = {"cache": {"disk_max_bytes": 0}, "inference": settings}
    config = store.parent / "llmrouter.yaml"
    config.write_text(json.dumps(body))
    async with (
        suite.running(config, ports="free", store=store) as addresses,
        AsyncClient(addresses.gateway) as client,
        grpc.aio.insecure_channel(addresses.inference) as channel,
    ):
        yield client, ModelServiceStub(channel)


class _Load:
    """Streams that ask one after another; remembers when each first token came, and failures."""

    def __init__(self, client):
        self._client = client
        self.first_tokens = []
        self.failed, self.cut = 0, 0
        self.versions = set()
        self.stop = False

    async def stream(self, number):
        while not self.stop:
            told = []
            try:
                await self._ask(number, told)
            except LlmrouterError:
                self.failed += 1
            self.cut += bool(told) and not isinstance(told[-1], Finished)

    async def _ask(self, number, told):
        began = time.monotonic()
        stream = self._client.stream(
            f"Count from {number}.", model="demo", max_tokens=32, temperature=1.0, seed=number,
            cache="off", timeout=120,
        )  # fmt: skip
        async with stream as events:
            async for event in events:
                if isinstance(event, Started):
                    self.versions.add(event.version)
                elif isinstance(told[-1], Started):
                    self.first_tokens.append((began, time.monotonic() - began))
                told.append(event)


async def _switch(store):
    async with _running(store, models=["demo"]) as (client, stub):
        load = _Load(client)
        streams = [asyncio.create_task(load.stream(number)) for number in range(STREAMS)]
        await asyncio.sleep(15)
        began = time.monotonic()
        request = model_pb2.ModelServiceLoadRequest(model="demo", version="v2", aliases=["stable"])
        async for _ in stub.Load(request, timeout=120):
            pass
        loaded = time.monotonic()
        await stub.Unload(model_pb2.ModelServiceUnloadRequest(model="demo", version="v1"))
        ended = time.monotonic()
        await asyncio.sleep(5)
        load.stop = True
        await asyncio.gather(*streams)
    before = [took for at, took in load.first_tokens if at < began]
    during = [took for at, took in load.first_tokens if began <= at < ended]
    return {
        "switch_requests": float(len(load.first_tokens)),
        "switch_failed_requests": float(load.failed),
        "switch_cut_streams": float(load.cut),
        "switch_versions_seen": float(len(load.versions)),
        "switch_load_seconds": loaded - began,
        "switch_seconds": ended - began,
        "switch_first_token_before_seconds": statistics.mean(before),
        "switch_first_token_during_seconds": statistics.mean(during),
        "switch_first_token_during_over_before": statistics.mean(during) / statistics.mean(before),
    }


async def _three_in_two(store):
    """A mix over three models under a budget that two of them fill; memory of the process too."""
    async with _running(store, loading="demand") as (_, stub):
        listed = await stub.List(model_pb2.ModelServiceListRequest())
    sizes = sorted(one.memory_bytes for one in listed.models)
    budget = (sizes[-1] + sizes[-2] + sizes[0] // 2) >> 20
    asked = [f"{one.name}@{one.version}" for one in listed.models] * 12
    errors, gate = 0, asyncio.Semaphore(STREAMS)
    began = time.monotonic()
    async with _running(store, memory_mib=budget) as (client, stub):

        async def ask(number, model):
            nonlocal errors
            async with gate:
                try:
                    await client.generate(
                        f"Count from {number}.", model=model, max_tokens=8, cache="off", timeout=120
                    )
                except LlmrouterError:
                    errors += 1

        await asyncio.gather(*(ask(*one) for one in enumerate(asked)))
        listed = await stub.List(model_pb2.ModelServiceListRequest())
    return {
        "three_in_two_requests": float(len(asked)),
        "three_in_two_errors": float(errors),
        "three_in_two_seconds": time.monotonic() - began,
        "three_in_two_budget_bytes": float(budget << 20),
        "three_in_two_model_bytes": float(listed.memory.model_bytes),
        "three_in_two_process_bytes": float(psutil.Process().memory_info().rss),
    }


@contextlib.contextmanager
def _store():
    """A store of links: `demo@v1` and `demo@v2`, 8 and 4 bits, and `large`, unquantised."""
    models = data_directory() / "models"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        root.mkdir()
        for name, precision in (("demo@v1", "int8"), ("demo@v2", "int4"), ("large", "fp32")):
            (root / name).symlink_to(models / f"{DEMO}-{precision}")
        (root / ".aliases.json").write_text('{"demo": {"stable": "v1"}}')
        yield root


def run() -> Report:
    """Measure everything on the demo model."""
    configure_logs(json=False, level=logging.CRITICAL)
    report = Report("models", targets=TARGETS)
    with _store() as store:
        folder, weights = store / "demo@v1", store / ".packed"
        steps = {
            "load": lambda: measure_loads(folder, weights),
            "replicas": lambda: measure_replicas(folder, weights),
            "switch": lambda: asyncio.run(_switch(store)),
            "three in two": lambda: asyncio.run(_three_in_two(store)),
            "import": lambda: measure_import(DEMO),
        }
        for step in track(steps, "Measuring", console=Console(stderr=True)):
            report.figures |= steps[step]()
    return report
