"""What telemetry costs: gateway and engine with all of it on, against all of it off; open pages.

Both run at the same time as programs of their own and are asked in turn, so that the moods of the
machine fall on both. The gateway stands between doubles of its neighbours; its cost is its
processor time.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
from grpc import aio
from rich.console import Console
from rich.progress import track
from tests.benchmarks.report import Report
from tests.benchmarks.telemetry_neighbours import neighbours, receiving, watching
from tests.integration.suite.conftest import wait_until_ready
from tests.support.ports import free_ports

from llmrouter.common.logs import configure_logs
from llmrouter.common.settings import data_directory
from llmrouter.v1 import gateway_pb2, generation_pb2, inference_pb2
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub
from llmrouter.v1.inference_pb2_grpc import InferenceServiceStub

MODEL = "smollm2-135m-instruct-int8"
CONCURRENT = 16
REQUESTS = 150
DELTAS = {"": 128, "_short": 32}
"""Texts of one answer: the median of the Azure trace of conversations (2023) has 129 tokens."""
PAIRS = 9
PAGES = (0, 1, 10)
"""Live pages that are open."""
ENGINE_PAIRS = 7
ENGINE_TOKENS = 96
TARGETS = {
    "gateway_cost_share": ("at_most", 0.05),
    "gateway_cost_share_short": ("at_most", 0.05),
    "page_throughput_lost_share_1": ("at_most", 0.05),
    "page_throughput_lost_share_10": ("at_most", 0.05),
    "engine_throughput_lost_share": ("at_most", 0.01),
}


@contextlib.asynccontextmanager
async def _program(name, section, telemetry, folder):
    """Run one service; yield its process and its address."""
    [port] = free_ports(1)
    path = folder / f"{name}-{port}.yaml"
    path.write_text(json.dumps({name: {**section, "port": port}, "telemetry": telemetry}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"llmrouter.{name}", "--config", str(path),
        stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "LLMROUTER_ENV": "production"},
    )  # fmt: skip
    try:
        await wait_until_ready(port)
        yield psutil.Process(process.pid), f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _many(ask, requests):
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(index):
        async with gate:
            await ask(index)

    began = time.monotonic()
    await asyncio.gather(*(one(index) for index in range(requests)))
    return time.monotonic() - began


def _cpu(process):
    times = process.cpu_times()
    return times.user + times.system


async def _gateway(folder):
    """Processor time of one streamed request in the gateway, off and on, in turn."""
    async with (
        neighbours() as places,
        receiving() as endpoint,
        contextlib.AsyncExitStack() as stack,
    ):
        section = {
            "selector_address": places.selector, "cache_address": places.cache, "http_port": None,
            "identity": {"anonymous": "always"},
        }  # fmt: skip
        sides = {}
        for side, telemetry in _sides(endpoint).items():
            process, address = await stack.enter_async_context(
                _program("gateway", section, telemetry, folder)
            )
            channel = await stack.enter_async_context(aio.insecure_channel(address))
            sides[side] = process, GatewayServiceStub(channel)
        costs = {kind: {side: [] for side in sides} for kind in DELTAS}
        for pair, kind in itertools.product(range(PAIRS + 1), DELTAS):
            for side, (process, stub) in sides.items():

                async def ask(index, stub=stub, pair=pair, kind=kind):
                    request = generation_pb2.GenerateRequest(
                        prompt="Where?",
                        sampling={"seed": pair * REQUESTS + index, "max_tokens": DELTAS[kind]},
                    )
                    asked = gateway_pb2.StreamGenerateRequest(request=request)
                    async for _ in stub.StreamGenerate(asked, timeout=60):
                        pass

                before = _cpu(process)
                await _many(ask, REQUESTS)
                await asyncio.sleep(1.2)  # what is sent later is paid for too
                if pair:
                    costs[kind][side].append((_cpu(process) - before) / REQUESTS)
    figures, spreads = {}, {}
    for kind, by_side in costs.items():
        off = by_side["off"]
        tenth = [on / base - 1 for base, on in zip(off, by_side["tenth"], strict=True)]
        figures |= {
            f"gateway_milliseconds_off{kind}": 1e3 * median(off),
            f"gateway_milliseconds_on{kind}": 1e3 * median(by_side["tenth"]),
            f"gateway_cost_share{kind}": median(tenth),
            f"gateway_cost_share_all_traces{kind}": median(
                on / base - 1 for base, on in zip(off, by_side["on"], strict=True)
            ),
        }
        spreads[f"gateway_cost_share{kind}"] = min(tenth), max(tenth)
    return figures, spreads


async def _pages(folder):
    """Requests per second of one gateway with no, one and ten live pages open, in turn."""
    [http] = free_ports(1)
    async with neighbours() as places:
        section = {
            "selector_address": places.selector, "cache_address": places.cache, "http_port": http,
            "identity": {"anonymous": "always"},
        }  # fmt: skip
        async with (
            _program("gateway", section, {}, folder) as (process, address),
            aio.insecure_channel(address) as channel,
        ):
            stub = GatewayServiceStub(channel)
            rates = {pages: [] for pages in PAGES}
            costs = {pages: [] for pages in PAGES}
            for pair, pages in itertools.product(range(PAIRS + 1), PAGES):

                async def ask(index, pair=pair, pages=pages):
                    seed = (pair * len(PAGES) + PAGES.index(pages)) * 2 * REQUESTS + index
                    request = generation_pb2.GenerateRequest(
                        prompt="Where?", sampling={"seed": seed, "max_tokens": DELTAS["_short"]}
                    )
                    asked = gateway_pb2.StreamGenerateRequest(request=request)
                    async for _ in stub.StreamGenerate(asked, timeout=60):
                        pass

                async with watching(f"127.0.0.1:{http}", pages):
                    before = _cpu(process)
                    seconds = await _many(ask, 2 * REQUESTS)
                    spent = _cpu(process) - before
                if pair:
                    rates[pages].append(2 * REQUESTS / seconds)
                    costs[pages].append(spent / (2 * REQUESTS))
    figures, spreads = {}, {}
    for pages in PAGES:
        figures[f"page_requests_per_second_{pages}"] = median(rates[pages])
        figures[f"page_milliseconds_{pages}"] = 1e3 * median(costs[pages])
        if pages:
            lost = [1 - on / off for off, on in zip(rates[0], rates[pages], strict=True)]
            figures[f"page_throughput_lost_share_{pages}"] = median(lost)
            spreads[f"page_throughput_lost_share_{pages}"] = min(lost), max(lost)
    return figures, spreads


async def _engine(folder):
    """Tokens per second of 16 streams through the inference service, off and on, in turn."""
    async with receiving() as endpoint, contextlib.AsyncExitStack() as stack:
        section = {"models": [MODEL], "speculation": "off", "prefix_cache_mib": 0}
        stubs = {}
        for side, telemetry in _sides(endpoint).items():
            if side == "tenth":
                continue
            _, address = await stack.enter_async_context(
                _program("inference", section, telemetry, folder)
            )
            channel = await stack.enter_async_context(aio.insecure_channel(address))
            stubs[side] = InferenceServiceStub(channel)
        rates = {side: [] for side in stubs}
        for pair in range(ENGINE_PAIRS + 1):
            for side, stub in stubs.items():

                async def ask(index, stub=stub):
                    request = _infer_request(index)
                    above = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
                    call = stub.Infer(request, metadata=(("traceparent", above),), timeout=120)
                    async for _ in call:
                        pass

                seconds = await _many(ask, 3 * CONCURRENT)
                if pair:
                    rates[side].append(3 * CONCURRENT * ENGINE_TOKENS / seconds)
    lost = [1 - on / off for off, on in zip(rates["off"], rates["on"], strict=True)]
    return {
        "engine_tokens_per_second_off": median(rates["off"]),
        "engine_tokens_per_second_on": median(rates["on"]),
        "engine_throughput_lost_share": median(lost),
    }, {"engine_throughput_lost_share": (min(lost), max(lost))}


def _infer_request(index):
    return inference_pb2.InferRequest(
        context={"request_id": f"r-{index}", "tenant": "default"},
        model=MODEL,
        request=generation_pb2.GenerateRequest(
            prompt="1, 2, 3, 4, 5, 6, 7, 8,",
            sampling={
                "seed": index, "max_tokens": ENGINE_TOKENS, "min_tokens": ENGINE_TOKENS,
            },
        ),
    )  # fmt: skip


def _sides(endpoint):
    everything = {
        "otlp_endpoint": endpoint,
        "prometheus": {"enabled": True, "port": 0},
    }
    return {
        "off": {},
        "on": {**everything, "sampled": 1.0},
        "tenth": {**everything, "sampled": 0.1},
    }


def run() -> Report:
    """Measure both."""
    configure_logs(json=False, level=logging.WARNING)
    report = Report("telemetry", targets=TARGETS)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        steps = {"gateway": _gateway, "pages": _pages}
        if (data_directory() / "models" / MODEL).is_dir():
            steps["engine"] = _engine
        else:
            report.skipped["engine"] = f"{MODEL} is not in the store"
        for step in track(steps, "Measuring", console=Console(stderr=True)):
            figures, spreads = asyncio.run(steps[step](folder))
            report.figures |= figures
            report.spreads |= spreads
    return report
