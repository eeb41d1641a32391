"""A store of 1,000,000 answers of 2 KB on disk."""

import asyncio
import gc
import hashlib
import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track

from llmrouter.cache.lmdb_store import LmdbStore
from llmrouter.cache.record import Record
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers

ENTRIES = 1_000_000
BYTES = 2_048
MEMORY = 64 << 20
LOOKUPS = 20_000
_BATCH = 5_000


def _place(number):
    return hashlib.sha256(b"%d" % number).digest()


def _fill(folder, settings):
    store = LmdbStore(folder, settings.disk_max_bytes)
    began, now = time.monotonic(), time.time()
    sequence, text = store.facts().sequence, os.urandom(BYTES)
    labels = tuple(bytes([kind]) * 16 for kind in range(4))
    kept = Record(now, now + 86_400, sequence, labels, 0, text)
    places = sorted(map(_place, range(ENTRIES)))  # in this order filling takes a fraction
    batches = range(0, ENTRIES, _BATCH)
    for first in track(batches, "Filling the store", console=Console(stderr=True)):
        store.put([(place, kept) for place in places[first : first + _BATCH]])
    store.close()
    return time.monotonic() - began


def _own_bytes():
    """Memory that is the process's alone; pages of the file belong to the system's cache."""
    gc.collect()
    taken = psutil.Process().memory_info()
    return taken.rss - taken.shared


async def _look_up(folder, settings):
    before = _own_bytes()
    began = time.perf_counter()
    tiers, _, _ = await open_tiers(settings, folder, time.time)
    opened = time.perf_counter() - began
    chance, times = random.Random(6), []  # noqa: S311
    numbers = [chance.randrange(ENTRIES) for _ in range(LOOKUPS)]
    for number in numbers:
        place = _place(number)
        began = time.perf_counter()
        hit = await tiers.lookup(place)
        times.append(time.perf_counter() - began)
        assert len(hit.payload) == BYTES
    grown = _own_bytes() - before
    (_, memory), (_, disk) = await tiers.counts()
    await tiers.close()
    return {
        "store_open_seconds": opened,
        "store_entries": float(disk.entries),
        "store_lookup_median_us": statistics.median(times) * 1e6,
        "store_lookup_p99_us": sorted(times)[int(0.99 * len(times))] * 1e6,
        "store_memory_over_its_bound": grown / MEMORY,
        "store_memory_tier_over_its_bound": memory.bytes / MEMORY,
    }


def measure_store():
    """Fill a store, open it again and look up at random, one after the other."""
    folder = Path(tempfile.mkdtemp(prefix="llmrouter-bench-"))
    settings = CacheSettings(memory_max_bytes=MEMORY, disk_max_bytes=16 << 30)
    try:
        filled = _fill(folder / "answers", settings)
        figures = asyncio.run(_look_up(folder / "answers", settings))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"store_fill_seconds": filled, **figures}
