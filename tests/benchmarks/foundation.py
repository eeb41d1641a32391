"""The figures of the foundation: the engine alone, and the whole suite over gRPC."""

import asyncio
import logging
import statistics
import time

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
}


async def _suite():
    """Ask the running suite over real gRPC: one stream, 16 streams, 1,000 short requests."""
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
        rates = []
        for turn in range(3):
            began = time.monotonic()
            counts = await asyncio.gather(
                *(ask(100 * turn + index, 96) for index in range(CONCURRENT))
            )
            rates.append(sum(counts) / (time.monotonic() - began))
        errors = await _many(ask)
    return {
        "suite_single_stream_tokens_per_second": alone,
        "suite_16_tokens_per_second": statistics.median(rates),
        "suite_errors_in_1000": float(errors),
    }


async def _many(ask):
    gate, errors = asyncio.Semaphore(CONCURRENT), 0

    async def one(index):
        nonlocal errors
        async with gate:
            try:
                await ask(index, 2)
            except LlmrouterError:
                errors += 1

    await asyncio.gather(*(one(index) for index in range(REQUESTS)))
    return errors


def run() -> Report:
    """Measure everything on the 8-bit demo model."""
    configure_logs(json=False, level=logging.WARNING)
    folder = data_directory() / "models" / MODEL
    report = Report("foundation", targets=TARGETS)
    report.figures |= engine_measures.measure_memory(folder)
    size = read_folder(folder).size_bytes
    report.figures["memory_over_folder"] = report.figures["memory_loaded_bytes"] / size
    report.figures |= engine_measures.measure_load(folder, repeats=10)
    report.figures |= engine_measures.measure_single_stream(folder, repeats=10)
    report.figures |= engine_measures.measure_streams(folder, repeats=3)
    report.figures |= engine_measures.measure_against_bare_session(folder, repeats=4)
    report.figures |= asyncio.run(_suite())
    return report
