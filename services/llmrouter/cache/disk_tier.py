"""The disk level for asyncio: one thread does all of its blocking work, in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from llmrouter.cache.lmdb_store import LmdbStore
from llmrouter.cache.record import Record
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.memory_tier import TierCounts

__all__ = ["DiskTier"]

_T = TypeVar("_T")
_MOST_WAITING_BYTES = 64 << 20
"""Answers that may wait in memory for the disk; of reads, which bring none, only keys wait."""


class DiskTier:
    """Records on disk; made by `open`."""

    def __init__(self, store: LmdbStore, thread: ThreadPoolExecutor, max_bytes: int) -> None:
        self._store = store
        self._thread = thread
        self._max_bytes = max_bytes
        self._hits = 0
        self._misses = 0
        self._waiting_bytes = 0
        self._closed = False

    @staticmethod
    async def open(path: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> DiskTier:
        """Open or create the store at `path`, at most `max_bytes` large.

        Raises:
            RouterError: STORE_FAILED when the folder cannot be used.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-disk")
        loop = asyncio.get_running_loop()
        try:
            store = await loop.run_in_executor(thread, LmdbStore, path, max_bytes, clock)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return DiskTier(store, thread, max_bytes)

    async def get(self, key: bytes) -> Record | None:
        """Return the living record of a key.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        record = await self._run(lambda: self._store.get(key))
        if record is None:
            self._misses += 1
        else:
            self._hits += 1
        return record

    async def put(self, key: bytes, record: Record) -> None:
        """Keep a record; returns once the disk has it. A caller that gives up does not stop it.

        Raises:
            RouterError: STORE_FAILED when the disk is full, cannot be written or is far behind.
        """
        size = len(record.payload)
        if self._waiting_bytes + size > _MOST_WAITING_BYTES:
            raise RouterError(
                Reason.STORE_FAILED,
                f"the answer store is behind: {self._waiting_bytes} bytes of answers wait for the "
                "disk",
                retry_after=1.0,
            )
        self._waiting_bytes += size
        # Freed when it is written and no sooner: a caller that gives up leaves it in the queue.
        writing = asyncio.ensure_future(self._run(lambda: self._store.put(key, record)))
        writing.add_done_callback(lambda done: self._written(done, size))
        await asyncio.shield(writing)

    async def counts(self) -> TierCounts:
        """Return sizes and counts.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        entries, size = await self._run(self._store.size)
        return TierCounts(
            entries=entries,
            bytes=size,
            max_bytes=self._max_bytes,
            hits=self._hits,
            misses=self._misses,
            evictions=self._store.evictions,
        )

    async def close(self) -> None:
        """Finish what was begun and close the store. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await self._run(self._store.close)
        self._thread.shutdown(wait=False)

    def _written(self, writing: asyncio.Future[None], size: int) -> None:
        self._waiting_bytes -= size
        if not writing.cancelled():
            writing.exception()  # told to the caller, unless it gave up

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
