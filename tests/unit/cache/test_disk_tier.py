"""A slow disk holds nobody else up, and the answers that wait for it are bounded."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from llmrouter.cache import disk_tier
from llmrouter.cache.disk_tier import DiskTier
from llmrouter.cache.lmdb_store import LmdbStore, StoreDamagedError
from llmrouter.cache.record import Record
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers
from llmrouter.common.errors import Reason, RouterError

RECORD = Record(0.0, 1e12, 1, (), 0, b"answer")
NEW_KEY = b"k" * 32


def always(record):
    return True


@pytest.fixture
async def tier(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_tier, "_MAX_WAITING_BYTES", 3 * len(RECORD.payload))
    opened = await DiskTier.open(tmp_path / "answers", 16 << 20)
    yield opened
    await opened.close()


@pytest.fixture
def stuck(tier, monkeypatch):
    """Makes every write wait until the event is set."""
    go = threading.Event()
    put = tier._store.put

    def wait_and_put(items):
        assert go.wait(10)
        put(items)

    monkeypatch.setattr(tier._store, "put", wait_and_put)
    yield go
    go.set()


@pytest.fixture
async def writing(tier, stuck):
    """As many writes as may wait."""
    tasks = [asyncio.ensure_future(tier.put(bytes([n]) * 32, RECORD)) for n in range(3)]
    await asyncio.sleep(0)
    return tasks


async def test_answers_beyond_what_may_wait_for_a_slow_disk_are_refused(tier, stuck, writing):
    with pytest.raises(RouterError, match="18 bytes of answers wait for the disk") as refused:
        await tier.put(NEW_KEY, RECORD)
    assert (refused.value.reason, refused.value.retry_after) == (Reason.STORE_FAILED, 1.0)
    stuck.set()
    await asyncio.gather(*writing)
    await tier.put(NEW_KEY, RECORD)
    assert await tier.get(NEW_KEY, always) == RECORD


async def test_reads_do_not_wait_for_writes(tier, stuck, writing):
    assert await tier.get(NEW_KEY, always) is None
    assert not any(one.done() for one in writing)


async def test_what_comes_while_the_disk_is_busy_is_written_together(tier, stuck, writing):
    batches, put = [], tier._store.put

    def watched(items):
        batches.append(len(items))
        put(items)

    tier._store.put = watched
    await asyncio.sleep(0.05)
    stuck.set()
    await asyncio.gather(*writing)
    batches.clear()
    await asyncio.gather(*(tier.put(bytes([100 + n]) * 32, RECORD) for n in range(3)))
    assert batches == [3]


async def test_a_caller_that_gives_up_neither_stops_its_write_nor_frees_its_place(
    tier, stuck, writing
):
    for one in writing:
        one.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    with pytest.raises(RouterError, match="wait for the disk"):
        await tier.put(NEW_KEY, RECORD)
    stuck.set()
    await tier.counts()  # behind the writes
    assert await tier.get(bytes([2]) * 32, always) == RECORD
    await tier.put(NEW_KEY, RECORD)


async def test_after_a_failed_write_writing_pauses_and_reading_goes_on(tier, monkeypatch):
    await tier.put(NEW_KEY, RECORD)
    put, clock = tier._store.put, [100.0]
    monkeypatch.setattr(disk_tier.time, "monotonic", lambda: clock[0])

    def fail(items):
        raise RouterError(Reason.STORE_FAILED, "the disk is full")

    tier._store.put = fail
    with pytest.raises(RouterError, match="the disk is full"):
        await tier.put(bytes(32), RECORD)
    tier._store.put = put
    with pytest.raises(RouterError, match=r"tries again in 5.0 s") as refused:
        await tier.put(bytes(32), RECORD)
    assert (refused.value.reason, refused.value.retry_after) == (Reason.STORE_FAILED, 5.0)
    assert await tier.get(NEW_KEY, always) == RECORD
    clock[0] += 5
    await tier.put(bytes(32), RECORD)
    assert await tier.get(bytes(32), always) == RECORD


async def test_a_damaged_record_is_a_miss_named_in_the_log_and_dropped(tier, caplog):
    await tier.put(NEW_KEY, RECORD)
    with tier._store._env.begin(write=True) as txn:
        packed = RECORD.pack(NEW_KEY)[:-1] + b"!"
        txn.put(NEW_KEY, packed, db=tier._store._tables["records"])
    assert await tier.get(NEW_KEY, always) is None
    assert "checksum" in caplog.text
    assert (await tier.counts()).entries == 0


async def test_a_damaged_store_is_set_aside_by_the_first_who_reads_it(tier, monkeypatch):
    await tier.put(NEW_KEY, RECORD)
    get = tier._store.get

    def damaged(key):
        monkeypatch.setattr(tier._store, "get", get)
        raise StoreDamagedError("page 7")

    monkeypatch.setattr(tier._store, "get", damaged)
    assert await tier.get(NEW_KEY, always) is None
    assert len(list(tier._store.path.parent.glob("answers.corrupt-*"))) == 1
    await tier.put(NEW_KEY, RECORD)
    assert await tier.get(NEW_KEY, always) == RECORD


async def test_a_record_that_may_not_be_served_counts_as_a_miss(tier):
    await tier.put(NEW_KEY, RECORD)
    assert await tier.get(NEW_KEY, lambda record: False) is None
    assert await tier.get(NEW_KEY, always) == RECORD
    counts = await tier.counts()
    assert (counts.hits, counts.misses) == (1, 1)


async def test_a_store_whose_facts_cannot_be_read_is_let_go_of(tmp_path, monkeypatch):
    opened = []

    def unreadable(store):
        opened.append(store)  # or the collector would close it
        raise RouterError(Reason.STORE_FAILED, "no facts")

    settings, folder = CacheSettings(), tmp_path / "answers"
    with monkeypatch.context() as broken:
        broken.setattr(LmdbStore, "facts", unreadable)
        with pytest.raises(RouterError, match="no facts"):
            await open_tiers(settings, folder, time.time)
    tiers, _, _ = await open_tiers(settings, folder, time.time)
    await tiers.close()
    assert len(opened) == 1
