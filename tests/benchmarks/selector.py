"""The selector's figures: how long a choice takes, what it remembers, and how well it chooses.

Choices are timed as the gateway makes them in one process: the servicer's `Select`, from message to
message. The simulation (`selector_world.py`) runs every strategy through the same requests.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from tests.benchmarks import selector_world
from tests.benchmarks.report import Report

from llmrouter.common.wire import duration
from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import CatalogEntry, SelectorSettings
from llmrouter.selector.strategies import BUILT_IN
from llmrouter.v1 import generation_pb2, selector_pb2

REPEATS = 800
SIZES = (10, 100, 300, 1000)
ENDPOINTS = 10_000
TARGETS = {
    "select_100_us": ("at_most", 100.0),
    "select_1000_us": ("at_most", 1000.0),
    "select_growth_exponent": ("at_most", 1.0),
    "memory_10000_endpoints_mib": ("at_most", 256.0),
    "in_time_share_worst": ("at_least", 0.99),
}


def add_options(parser):
    """Add the benchmark's own options."""
    parser.add_argument("--trace", type=Path, help="azure_llm_conv.csv; without it: made up")
    parser.add_argument("--requests", type=int, default=3000, help="of the simulation (3000)")
    parser.add_argument("--only", default="time,memory,world", help="parts to measure (all)")


def _selector(models, replicas=1):
    entries = tuple(
        CatalogEntry(
            name=f"model-{number:04}",
            quality=0.3 + 0.6 * (number * 37 % 101) / 101,
            input_price=1 + number * 13 % 17,
            output_price=2 + number * 7 % 19,
        )
        for number in range(models)
    )
    held = tuple(
        ServedModel(
            one.name, "v1", f"host-{number}:1", context=8192, slots=16,
            capabilities=frozenset({"chat", "completion", "seed"}),
        )
        for one in entries
        for number in range(replicas)
    )  # fmt: skip
    return ModelSelector(SelectorSettings(catalog=entries), lambda: held)


def _request(strategy, number, *, brief):
    return selector_pb2.SelectRequest(
        context=generation_pb2.RequestContext(request_id=f"r{number}", tenant="default"),
        routing=generation_pb2.RoutingWishes(strategy=strategy),
        prompt_bytes=500 + number * 97 % 4000,
        max_tokens=100,
        capabilities=["chat"],
        question_key=number.to_bytes(32),
        conversation_key=(number % 50).to_bytes(32),
        brief=brief,
    )


def _report(plan, number):
    first = plan.candidates[0]
    outcome = selector_pb2.Outcome(
        model=first.model,
        version=first.version,
        address=first.address,
        time_to_first_token=duration(0.1 + number % 7 / 100),
        time_per_token=duration(0.01 + number % 5 / 1000),
        usage=generation_pb2.Usage(prompt_tokens=300, completion_tokens=100),
        prompt_bytes=1200,
    )
    return selector_pb2.ReportOutcomeRequest(plan_id=plan.id, outcomes=[outcome])


async def _times(models, strategy="balanced", *, brief=True):
    """Microseconds of each choice, with an outcome reported after each."""
    servicer, times = SelectorServicer(_selector(models)), []
    for number in range(REPEATS):
        request = _request(strategy, number, brief=brief)
        began = time.perf_counter()
        answer = await servicer.Select(request, None)
        times.append((time.perf_counter() - began) * 1e6)
        await servicer.ReportOutcome(_report(answer.plan, number), None)
    return times[REPEATS // 4 :]


def _measure_time(report):
    gc.collect()
    medians = {}
    for size in SIZES:
        times = asyncio.run(_times(size))
        medians[size] = report.figures[f"select_{size}_us"] = median(times)
        report.spreads[f"select_{size}_us"] = tuple(np.percentile(times, [10, 99]).tolist())
    full = {size: median(asyncio.run(_times(size, brief=False))) for size in (100, 1000)}
    report.figures |= {f"select_{size}_explained_us": value for size, value in full.items()}
    for one in BUILT_IN:
        report.figures[f"select_100_{one.name}_us"] = median(asyncio.run(_times(100, one.name)))
    sizes, found = zip(*medians.items(), strict=True)
    # The slope on logarithmic axes: 1 is linear, 0 a time that does not grow.
    report.figures["select_growth_exponent"] = float(np.polyfit(np.log(sizes), np.log(found), 1)[0])


async def _crowd():
    """MiB of the process that a selector takes which learned of 10,000 endpoints."""
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    selector = _selector(1000, ENDPOINTS // 1000)
    servicer = SelectorServicer(selector)
    for number in range(2 * ENDPOINTS):
        plan = (await servicer.Select(_request("random", number, brief=True), None)).plan
        await servicer.ReportOutcome(_report(plan, number), None)
        if number == ENDPOINTS:
            early = process.memory_info().rss
    after = process.memory_info().rss
    endpoints = selector.live.view().endpoints
    seen = sum(selector.statistics.seen(key) is not None for key in endpoints)
    return {
        "memory_10000_endpoints_mib": (after - before) / 2**20,
        "memory_growth_last_10000_choices_mib": (after - early) / 2**20,
        "endpoints_seen": float(seen),
    }


def _measure_world(report, options):
    trace = selector_world.read_trace(options.trace, options.requests) if options.trace else None
    if trace is None:
        report.skipped["recorded trace"] = "--trace names no file; requests are made up"
    shares = {}
    for strategy in BUILT_IN:
        told = selector_world.run(strategy, selector_world.requests(options.requests, trace))
        shares[strategy.name] = told["in_time"]
        report.figures |= {f"{key}_{strategy.name}": value for key, value in told.items()}
    report.figures["in_time_share_worst"] = min(shares.values())


def run(options) -> Report:
    """Measure the parts that were asked for."""
    report = Report("selector", targets=TARGETS)
    parts = options.only.split(",")
    if "time" in parts:
        _measure_time(report)
    if "memory" in parts:
        report.figures |= asyncio.run(_crowd())
    if "world" in parts:
        _measure_world(report, options)
    return report
