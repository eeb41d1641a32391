"""The memory tier keeps its bound, forgets by use and by time, and counts what it did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.benchmarks.cache_policies import (
    S3Fifo,
    WTinyLfu,
    belady_rate,
    hit_rate,
    zipf_trace,
)

from llmrouter.common.memory_tier import ENTRY_OVERHEAD, MemoryTier


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Sized(MemoryTier):
    """A tier of bytes, whose sizes are their lengths."""

    def put(self, key, value, ttl_seconds):
        return super().put(key, value, len(value), ttl_seconds)


def tier(entries: int = 3, clock: Clock | None = None) -> MemoryTier:
    """Room for this many entries of a 1-byte key and a 9-byte value."""
    return Sized(entries * (10 + ENTRY_OVERHEAD), clock or Clock())


def test_a_value_comes_back_until_its_time_is_over():
    clock = Clock()
    memory = tier(clock=clock)
    assert memory.put(b"k", b"value....", ttl_seconds=10)
    clock.now += 9.999
    assert b"k" in memory
    assert memory.get(b"k") == b"value...."
    clock.now += 0.001
    assert b"k" not in memory
    assert memory.get(b"k") is None
    counts = memory.counts()
    assert (counts.hits, counts.misses, counts.entries, counts.bytes) == (1, 1, 0, 0)
    assert counts.evictions == 0


def test_what_is_asked_for_often_outlives_a_scan_of_what_is_asked_for_once():
    memory = tier(entries=10)
    for _ in range(3):
        for number in range(8):
            if memory.get(bytes([number])) is None:
                memory.put(bytes([number]), b"v" * 9, 60)
    for number in range(100, 250):
        assert memory.get(bytes([number])) is None
        memory.put(bytes([number]), b"v" * 9, 60)
        assert bytes([number]) in memory  # the newest is always held
    assert all(bytes([number]) in memory for number in range(8))
    assert memory.counts().evictions == 148


def test_what_nobody_asks_for_any_more_gives_way_in_time():
    memory = tier(entries=10)
    for _ in range(15):
        for number in range(8):
            if memory.get(bytes([number])) is None:
                memory.put(bytes([number]), b"v" * 9, 60)
    for _ in range(200):
        for number in range(100, 108):
            if memory.get(bytes([number])) is None:
                memory.put(bytes([number]), b"v" * 9, 60)
    assert sum(bytes([number]) in memory for number in range(100, 108)) >= 7


def test_a_large_value_is_let_in_only_if_it_is_worth_all_that_would_go_for_it():
    memory = tier(entries=10)
    for _ in range(2):
        for number in range(10):
            if memory.get(bytes([number])) is None:
                memory.put(bytes([number]), b"v" * 9, 60)
    memory.get(b"L")
    memory.put(b"L", b"v" * 5 * (10 + ENTRY_OVERHEAD), 60)
    memory.put(b"n", b"v" * 9, 60)  # L leaves the window
    assert b"L" not in memory


@pytest.mark.parametrize("seed", [1, 2])
def test_on_a_skewed_trace_it_is_within_two_points_of_the_better_reference(seed):
    trace = zipf_trace(requests=20_000, prompts=2_000, seed=seed)
    memory, hits = tier(entries=400), 0
    for rank in trace:
        key = b"%d" % rank
        if memory.get(key) is not None:
            hits += 1
        else:
            memory.put(key, b"v" * (10 - len(key)), 60)
    better = max(hit_rate(S3Fifo(400), trace), hit_rate(WTinyLfu(400), trace))
    assert hits / len(trace) >= better - 0.02
    assert better < belady_rate(trace, 400)


def test_a_value_larger_than_the_tier_is_not_kept_and_leaves_the_others_alone():
    memory = tier(entries=1)
    memory.put(b"a", b"a" * 9, 60)
    assert not memory.put(b"b", b"b" * 10, 60)
    assert memory.get(b"a") == b"a" * 9


def test_a_value_that_cannot_be_kept_does_not_leave_the_older_one_behind():
    memory = tier(entries=1)
    memory.put(b"a", b"old", 60)
    assert not memory.put(b"a", b"n" * 1000, 60)
    assert memory.get(b"a") is None


def test_a_tier_of_no_bytes_holds_nothing():
    memory = Sized(0)
    assert not memory.put(b"", b"", 60)
    assert len(memory) == 0


def test_clear_forgets_all_and_keeps_the_counts():
    memory = tier()
    memory.put(b"a", b"1", 60)
    memory.get(b"a")
    memory.clear()
    assert memory.get(b"a") is None
    assert memory.counts().hits == 1
    assert memory.counts().bytes == 0


KEYS = st.binary(min_size=1, max_size=2)
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=600), st.floats(0, 20)),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("remove"), KEYS),
    st.tuples(st.just("wait"), st.floats(0, 10)),
)


@given(st.integers(0, 3000), st.lists(STEPS, max_size=60))
def test_it_never_holds_more_than_allowed_nor_returns_anything_but_the_last_value(bound, steps):
    clock = Clock()
    memory = Sized(bound, clock)
    written: dict[bytes, tuple[bytes, float]] = {}
    for step in steps:
        if step[0] == "put":
            kept = memory.put(step[1], step[2], step[3])
            written.pop(step[1], None)
            if kept:
                written[step[1]] = (step[2], clock.now + step[3])
        elif step[0] == "get":
            found = memory.get(step[1])
            if found is not None:
                value, expires = written[step[1]]
                assert found == value
                assert clock.now < expires
        elif step[0] == "remove":
            memory.remove(step[1])
            written.pop(step[1], None)
        else:
            clock.now += step[1]
        counts = memory.counts()
        segments = (memory._window, memory._probation, memory._protected)
        held = [(key, entry.value) for one in segments for key, entry in one.items()]
        assert counts.bytes == sum(len(k) + len(v) + ENTRY_OVERHEAD for k, v in held) <= bound
        assert counts.entries == len(held)
        for one, size in (
            (memory._window, memory._window_bytes),
            (memory._protected, memory._protected_bytes),
        ):
            assert size == sum(entry.size for entry in one.values())
