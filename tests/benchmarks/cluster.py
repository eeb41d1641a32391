"""`make bench NAME=cluster`: a cluster of hosts in network namespaces, and what faults cost.

Each service is a program on a host of its own, a real Redis among them. The engines are the real
inference service over a backend that only takes its time (`tests/support/paced`), so that two cores
carry them all.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from tests.benchmarks.cluster_drills import REDIS_SECONDS, kill_in_turn, restart_in_turn
from tests.benchmarks.cluster_load import answers_per_second
from tests.benchmarks.report import Report
from tests.support.cluster import Cluster, Shape, why_no_cluster
from tests.support.paced.llmrouter_paced import Pace

PARTS = ("availability", "throughput", "rolling")
TARGETS = {
    "availability": ("at_least", 0.999),
    "streams_lost_that_could_be_continued": ("at_most", 0.0),
    "second_node_throughput_ratio": ("at_least", 1.8),
    "rolling_restart_errors": ("at_most", 0.0),
}
_SLOTS, _TOKENS = 8, 10


def add_options(parser):
    """Add the benchmark's own options."""
    parser.add_argument("--requests", type=int, default=20_000, help="while members die (20000)")
    parser.add_argument("--rate", type=float, default=100, help="of them in a second (100)")
    parser.add_argument(
        "--redis-seconds", type=float, default=REDIS_SECONDS, help="Redis is away for (30)"
    )
    parser.add_argument("--streams", type=int, default=50, help="under a rolling restart (50)")
    parser.add_argument("--seconds", type=float, default=15, help="of each throughput (15)")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure (all)")


def run(options) -> Report:
    """Measure the parts that were asked for."""
    report, parts = Report("cluster", targets=TARGETS), options.only.split(",")
    reason = why_no_cluster()
    if reason:
        report.skipped["cluster"] = reason
        return report
    console, began = Console(stderr=True), time.monotonic()

    def tell(what):
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {what}", highlight=False)

    if "availability" in parts:
        _availability(report, options, tell)
    if "throughput" in parts:
        report.figures |= asyncio.run(_throughput(options.seconds, tell))
    if "rolling" in parts:
        _rolling(report, options.streams, tell)
    return report


def _availability(report, options, tell):
    drill = kill_in_turn(options.requests, options.rate, options.redis_seconds, tell)
    requests, (broken, lost) = drill.requests, drill.lost_streams()
    report.figures |= {
        "availability": requests.share,
        "requests": float(requests.asked),
        "requests_failed": float(len(requests.broken)),
        "request_seconds_median": float(np.median(requests.seconds)),
        "request_seconds_p99": float(np.percentile(requests.seconds, 99)),
        "request_seconds_longest": max(requests.seconds),
        "long_streams": float(drill.streams.asked),
        "streams_of_killed_gateways": float(broken - lost),
        "streams_lost_that_could_be_continued": float(lost),
        "drill_seconds": drill.lasted,
    }
    report.notes["failures"] = [*requests.failures, *drill.streams.failures]


def _rolling(report, streams, tell):
    tally = restart_in_turn(streams, tell)
    report.figures |= {
        "rolling_restart_streams": float(tally.asked),
        "rolling_restart_errors": float(tally.asked - tally.answered),
    }
    report.notes["rolling_restart_failures"] = tally.failures


async def _throughput(seconds, tell):
    pace = Pace(step=0.05, tokens_at_once=_TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Cluster(Shape(engines=2, slots=_SLOTS, pace=pace), Path(folder)) as cluster,
            cluster.client() as client,
        ):
            second = cluster.all("inference")[1]
            await second.stop()
            tell("throughput of one engine")
            one = await answers_per_second(client, 4 * _SLOTS, _TOKENS, seconds)
            second.start()
            await second.ready()
            await cluster.knows_all_engines()
            tell("throughput of two engines")
            two = await answers_per_second(client, 4 * _SLOTS, _TOKENS, seconds)
    return {
        "answers_per_second_one_node": one,
        "answers_per_second_two_nodes": two,
        "second_node_throughput_ratio": two / one,
    }
