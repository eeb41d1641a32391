"""A slow disk holds nobody else up, and the answers that wait for it are bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llmrouter.cache import disk_tier
from llmrouter.cache.disk_tier import DiskTier
from llmrouter.cache.record import Record
from llmrouter.common.errors import Reason, RouterError

RECORD = Record(0.0, 1e12, b"answer")
NEW_KEY = b"k" * 32


@pytest.fixture
async def tier(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_tier, "_MOST_WAITING_BYTES", 3 * len(RECORD.payload))
    opened = await DiskTier.open(tmp_path / "answers", 16 << 20)
    yield opened
    await opened.close()


@pytest.fixture
def stuck(tier, monkeypatch):
    """Makes every write wait until the event is set."""
    go = threading.Event()
    put = tier._store.put

    def wait_and_put(key, record):
        assert go.wait(10)
        put(key, record)

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
    assert await tier.get(NEW_KEY) == RECORD


async def test_reads_wait_behind_the_writes_and_are_not_refused(tier, stuck, writing):
    reading = [asyncio.ensure_future(tier.get(bytes([n]) * 32)) for n in range(3)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in reading)
    stuck.set()
    assert await asyncio.gather(*reading) == [RECORD] * 3


async def test_a_caller_that_gives_up_neither_stops_its_write_nor_frees_its_place(
    tier, stuck, writing
):
    for one in writing:
        one.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    with pytest.raises(RouterError, match="wait for the disk"):
        await tier.put(NEW_KEY, RECORD)
    stuck.set()
    assert await tier.get(bytes([2]) * 32) == RECORD
    await tier.put(NEW_KEY, RECORD)


async def test_a_write_that_failed_frees_its_place(tier, monkeypatch):
    def fail(key, record):
        raise RouterError(Reason.STORE_FAILED, "the disk is full")

    monkeypatch.setattr(tier._store, "put", fail)
    for _ in range(5):
        with pytest.raises(RouterError, match="the disk is full"):
            await tier.put(NEW_KEY, RECORD)
