"""The figures of the foundation: the engine alone, and the whole suite over gRPC."""

import asyncio
import contextlib
import logging
import time

from rich.console import Console
from rich.progress import track
from tests.benchmarks import engine_measures
from tests.benchmarks.report import Report

from llmrouter import suite
from llmrouter.common.logs import configure_logs
from llmrouter.common.settings import data_directory
from llmrouter.inference.models.folder import read_folder
from llmrouter_client import AsyncClient, LlmrouterError

MODEL = "smollm2-135m-instruct-int8"
REQUESTS = 1000
CONCURRENT = 16
TARGETS = {
    "load_seconds_p95": ("at_most", 2.0),
    "first_token_seconds_mean": ("at_most", 0.2),
    "single_stream_tokens_per_second": ("at_least", 50.0),
    "streams_16_tokens_per_second": ("at_least", 300.0),
    "engine_16_over_bare": ("at_least", 0.95),
    "memory_over_folder": ("at_most", 2.0),
    "suite_errors_in_1000": ("at_most", 0.0),
    "loop_lag_seconds_p99": ("at_most", 0.005),
}


async def _suite():
    """Ask the running suite over real gRPC: one stream, 16 at all times, 1,000 short requests."""
    async with suite.running(ports="free") as addresses, AsyncClient(addresses.gateway) as client:

        async def ask(index, tokens):
            answer = await client.generate(
                f"Count from {index} to ten thousand.", model=MODEL, temperature=1.0, seed=index,
                max_tokens=tokens, cache="off", timeout=120,
            )  # fmt: skip
            return answer.usage.completion_tokens

        await ask(0, 8)
        began = time.monotonic()
        alone = await ask(1, 128) / (time.monotonic() - began)
        async with _loop_lag() as lags:
            began = time.monotonic()
            counts, _ = await _many(ask, requests=6 * CONCURRENT, tokens=96)
            together = sum(counts) / (time.monotonic() - began)
            _, errors = await _many(ask, requests=REQUESTS, tokens=2)
    return {
        "suite_single_stream_tokens_per_second": alone,
        "suite_16_tokens_per_second": together,
        "suite_errors_in_1000": float(errors),
        "loop_lag_seconds_p99": sorted(lags)[int(0.99 * len(lags))],
    }


@contextlib.asynccontextmanager
async def _loop_lag(every=0.01):
    """Yield a list that grows by how late a sleep of `every` seconds ended."""
    lags = []

    async def watch():
        while True:
            began = time.monotonic()
            await asyncio.sleep(every)
            lags.append(time.monotonic() - began - every)

    watching = asyncio.create_task(watch())
    try:
        yield lags
    finally:
        watching.cancel()


async def _many(ask, requests, tokens):
    """Ask so many times, 16 at once; the tokens of each answer, and how many failed."""
    gate, counts, errors = asyncio.Semaphore(CONCURRENT), [], 0

    async def one(index):
        nonlocal errors
        async with gate:
            try:
                counts.append(await ask(index, tokens))
            except LlmrouterError:
                errors += 1

    await asyncio.gather(*(one(index) for index in range(requests)))
    return counts, errors


def run() -> Report:
    """Measure everything on the 8-bit demo model."""
    configure_logs(json=False, level=logging.WARNING)
    folder = data_directory() / "models" / MODEL
    size = read_folder(folder).size_bytes
    report = Report("foundation", targets=TARGETS)
    steps = {
        "memory": lambda: engine_measures.measure_memory(folder),
        "load": lambda: engine_measures.measure_load(folder, repeats=20),
        "one stream": lambda: engine_measures.measure_single_stream(folder, repeats=10),
        "16 streams": lambda: engine_measures.measure_streams(folder, repeats=3),
        "engine over bare session": lambda: engine_measures.measure_against_bare_session(
            folder, repeats=5
        ),
        "suite": lambda: asyncio.run(_suite()),
    }
    for step in track(steps, "Measuring", console=Console(stderr=True)):
        report.figures |= steps[step]()
    report.figures["memory_over_folder"] = report.figures["memory_loaded_bytes"] / size
    return report
