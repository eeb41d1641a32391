"""The figures of the cache: policies on a trace, latencies beside an echo, a large store."""

import asyncio
import logging

from tests.benchmarks.cache_apart import measure_apart
from tests.benchmarks.cache_packing import measure_packing
from tests.benchmarks.cache_policies import (
    PROMPTS,
    ROOM,
    Lru,
    S3Fifo,
    WTinyLfu,
    belady_rate,
    hit_rate,
    zipf_trace,
)
from tests.benchmarks.cache_store import measure_store
from tests.benchmarks.cache_suite import (
    measure_invalidation,
    measure_latency,
    measure_stampede,
)
from tests.benchmarks.report import Report

from llmrouter.common.logs import configure_logs
from llmrouter.common.memory_tier import ENTRY_OVERHEAD, MemoryTier

TARGETS = {
    "zipf_behind_better_reference": ("at_most", 0.02),
    "zipf_room_for_all": ("at_least", 0.85),
    "unary_l1_over_echo": ("at_most", 1.3),
    "stream_l1_over_echo": ("at_most", 1.3),
    "unary_l2_over_echo": ("at_most", 2.0),
    "stream_l2_over_echo": ("at_most", 2.0),
    "unary_miss_adds_of_echo": ("at_most", 0.1),
    "stream_miss_adds_of_echo": ("at_most", 0.1),
    "generations_of_100_identical": ("at_most", 1.0),
    "invalidation_seconds_longest": ("at_most", 1.0),
    "store_lookup_median_us": ("at_most", 200.0),
    "store_open_seconds": ("at_most", 2.0),
    "store_memory_tier_over_its_bound": ("at_most", 1.0),
}
_VALUE_BYTES = 500


class _Shipped:
    """`MemoryTier`, with room for so many keys."""

    def __init__(self, room):
        self._tier = MemoryTier(room * (8 + _VALUE_BYTES + ENTRY_OVERHEAD))

    def request(self, key):
        name = key.to_bytes(8, "big")
        if self._tier.get(name) is not None:
            return True
        self._tier.put(name, key + 1, _VALUE_BYTES, 60.0)
        return False


def measure_trace():
    """Hit rates on a Zipf trace; differences in shares of 1."""
    trace = zipf_trace()
    s3_fifo, w_tinylfu = hit_rate(S3Fifo(ROOM), trace), hit_rate(WTinyLfu(ROOM), trace)
    shipped = hit_rate(_Shipped(ROOM), trace)
    return {
        "zipf_shipped": shipped,
        "zipf_reference_w_tinylfu": w_tinylfu,
        "zipf_reference_s3_fifo": s3_fifo,
        "zipf_reference_lru": hit_rate(Lru(ROOM), trace),
        "zipf_belady": belady_rate(trace, ROOM),
        "zipf_behind_better_reference": max(s3_fifo, w_tinylfu) - shipped,
        "zipf_room_for_all": hit_rate(_Shipped(PROMPTS), trace),
    }


MEASURES = {
    "trace": measure_trace,
    "packing": measure_packing,
    "latency": lambda: asyncio.run(measure_latency()),
    "apart": lambda: asyncio.run(measure_apart()),
    "stampede": lambda: asyncio.run(measure_stampede()),
    "invalidation": lambda: asyncio.run(measure_invalidation()),
    "store": measure_store,
}


def add_options(parser):
    """Take which figures to measure."""
    parser.add_argument(
        "--measures", default=",".join(MEASURES), help=f"some of {','.join(MEASURES)}"
    )


def run(arguments) -> Report:
    """Measure what was chosen; the store takes some minutes, the others seconds."""
    configure_logs(json=False, level=logging.ERROR)
    report = Report("cache", targets=TARGETS)
    for name in arguments.measures.split(","):
        report.figures |= MEASURES[name]()
    return report
