"""The bounds of memory hold for what answers really take: small ones, and those with many tags."""

import hashlib
import os
import tracemalloc

import pytest

from llmrouter.cache.record import Record
from llmrouter.common.generation import FinishReason, Timings, Usage
from llmrouter.common.invalidation import answer_labels
from llmrouter.common.memory_tier import MemoryTier
from llmrouter.gateway.answer_cache import News
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.near_cache import NearCache

BOUND = 4 << 20
NOW = 1e9


def tags(count):
    return tuple(f"tag-{number}" for number in range(count))


def fill_service(size, labelled):
    """The memory of the cache service, filled over its bound with packed answers."""
    tier = MemoryTier(BOUND, lambda: 0.0)
    number = 0
    while not tier.counts().evictions:
        number += 1
        place = hashlib.sha256(b"%d" % number).digest()
        labels = answer_labels(place, "tenant", "model", "version", tags(labelled))
        record = Record(
            NOW + number, NOW + 2 * number, 10**15 + number, labels, 1, os.urandom(size)
        )
        tier.put(place, record, record.size, 3600)
    return tier


def fill_gateway(size, labelled):
    near = NearCache(BOUND, lambda: 0.0)
    near.hear(News(10**15, 0, (), "session", b"store", 3600.0))
    number = 0
    while not near.counts().evictions:
        number += 1
        key = hashlib.sha256(b"%d" % number).digest()
        choice = Choice(f"{number}" + "x" * size, FinishReason.STOP)
        usage, timings = Usage(1000 + number, 2000 + number), Timings(decode=0.5 + number)
        answer = Answer(f"model {number}", f"version {number}", (choice,), usage, timings)
        near.put("tenant", key, answer, tags(labelled), 3600, 10**15)
    return near


@pytest.mark.parametrize("fill", [fill_service, fill_gateway])
@pytest.mark.parametrize(("size", "labelled"), [(130, 0), (130, 16), (2_000, 0), (20_000, 4)])
def test_a_level_takes_what_it_may_and_not_much_more_or_less(fill, size, labelled):
    fill(size, labelled)  # what is made once and kept is not of the answers
    tracemalloc.start()
    try:
        level = fill(size, labelled)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert level.counts().bytes <= BOUND
    assert 0.7 * BOUND < taken < 1.1 * BOUND
