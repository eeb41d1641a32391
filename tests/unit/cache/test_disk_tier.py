"""A slow disk holds nobody else up, and what waits for it is bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llmrouter.cache import disk_tier
from llmrouter.cache.disk_tier import DiskTier
from llmrouter.cache.record import Record
from llmrouter.common.errors import Reason, RouterError

RECORD = Record(0.0, 1e12, b"answer")


@pytest.fixture
async def tier(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_tier, "_MOST_WAITING", 3)
    opened = await DiskTier.open(tmp_path / "answers", 16 << 20)
    yield opened
    await opened.close()


@pytest.fixture
def stuck(tier, monkeypatch):
    """Makes every write wait until the event is set."""
    go = threading.Event()
    put = tier._store.put
    monkeypatch.setattr(tier._store, "put", lambda key, record: go.wait(10) and put(key, record))
    yield go
    go.set()


async def test_what_waits_for_a_slow_disk_is_bounded_and_the_rest_refused(tier, stuck):
    writing = [asyncio.ensure_future(tier.put(bytes([n]) * 32, RECORD)) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(RouterError, match="3 reads and writes wait for the disk") as refused:
        await tier.get(b"k" * 32)
    assert (refused.value.reason, refused.value.retry_after) == (Reason.STORE_FAILED, 1.0)
    stuck.set()
    await asyncio.gather(*writing)
    assert await tier.get(bytes([2]) * 32) == RECORD


async def test_a_caller_that_gives_up_neither_stops_its_write_nor_frees_its_place(tier, stuck):
    writing = [asyncio.ensure_future(tier.put(bytes([n]) * 32, RECORD)) for n in range(3)]
    await asyncio.sleep(0)
    for one in writing:
        one.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    with pytest.raises(RouterError, match="wait for the disk"):
        await tier.get(b"k" * 32)
    stuck.set()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await tier.get(bytes([2]) * 32) == RECORD
            except RouterError:
                await asyncio.sleep(0.01)
            else:
                break
