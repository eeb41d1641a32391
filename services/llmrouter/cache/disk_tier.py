"""The disk level for asyncio: one thread writes, in batches, and one reads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from llmrouter.cache.lmdb_store import LmdbStore, StoreDamagedError
from llmrouter.cache.record import Record, RecordError
from llmrouter.cache.store_facts import StoreFacts
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import CacheLevel
from llmrouter.common.memory_tier import TierCounts

__all__ = ["DiskTier"]

_T = TypeVar("_T")
_MAX_WAITING_BYTES = 64 << 20
"""Answers that may wait in memory for the disk; of reads, which bring none, only keys wait."""
_PAUSE_SECONDS = 5.0
"""How long nothing is written after a write failed, as on a full disk."""
_log = logging.getLogger(__name__)
_Write = tuple[bytes, Record, "asyncio.Future[None]"]


class DiskTier:
    """Records on disk; made by `open`."""

    level = CacheLevel.DISK

    def __init__(self, store: LmdbStore, writer: ThreadPoolExecutor, max_bytes: int) -> None:
        self._store = store
        self._writer = writer
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-reader")
        self._max_bytes = max_bytes
        self._hits = 0
        self._misses = 0
        self._waiting: list[_Write] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self._closed = False

    @staticmethod
    async def open(
        path: Path, max_bytes: int, clock: Callable[[], float] = time.time, grace: float = 0.0
    ) -> DiskTier:
        """Open or create a store; arguments as those of `LmdbStore`.

        Raises:
            RouterError: STORE_FAILED when the folder cannot be used.
        """
        writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-writer")
        loop = asyncio.get_running_loop()
        try:
            store = await loop.run_in_executor(writer, LmdbStore, path, max_bytes, clock, grace)
        except BaseException:
            writer.shutdown(wait=False)
            raise
        return DiskTier(store, writer, max_bytes)

    async def get(
        self, key: bytes, serves: Callable[[Record], bool], *, ahead: bool = False
    ) -> Record | None:
        """Return the record of a key, if it `serves`; a miss counts, unless it is `ahead`.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        try:
            record = await self._run(self._reader, lambda: self._store.get(key))
        except RecordError as error:
            _log.error("dropped an answer of %s: %s", self._store.path, error)
            await self._write(lambda: self._store.remove(key))
            record = None
        except StoreDamagedError as error:
            damage = error
            await self._write(lambda: self._store.set_aside(damage))
            record = None
        if record is None or not serves(record):
            self._misses += not ahead
            return None
        self._hits += 1
        return record

    async def put(self, key: bytes, record: Record) -> None:
        """Keep a record; returns once the disk has it. A caller that gives up does not stop it.

        What comes while the disk is busy is written together.

        Raises:
            RouterError: STORE_FAILED when the disk is full, cannot be written or is far behind.
        """
        self._refuse_paused()
        size = len(record.payload)
        if self._waiting_bytes + size > _MAX_WAITING_BYTES:
            raise RouterError(
                Reason.STORE_FAILED,
                f"the answer store is behind: {self._waiting_bytes} bytes of answers wait for the "
                "disk",
                retry_after=1.0,
            )
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((key, record, written))
        self._waiting_bytes += size
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_all())
        await asyncio.shield(written)

    async def remove(self, key: bytes) -> None:
        """Forget a record.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be written.
        """
        await self._write(lambda: self._store.remove(key))

    async def facts(self) -> StoreFacts:
        """Return what the store knows beside its records."""
        return await self._write(self._store.facts)

    async def mark(
        self, marks: Sequence[tuple[bytes, int]], gone: Sequence[bytes], floor: int
    ) -> None:
        """Note invalidations durably; arguments and errors as those of `LmdbStore.mark`."""
        await self._write(lambda: self._store.mark(marks, gone, floor))

    async def versions(self) -> dict[str, frozenset[str]]:
        """Return the versions that are remembered, as `LmdbStore.versions`."""
        return await self._write(self._store.versions)

    async def note_versions(
        self, changed: Mapping[str, frozenset[str]], forgotten: Sequence[str]
    ) -> None:
        """Remember versions durably; arguments and errors as those of `LmdbStore.note_versions`."""
        await self._write(lambda: self._store.note_versions(changed, forgotten))

    async def add_dictionary(self, raw: bytes) -> bool:
        """Keep a dictionary durably; errors as those of `LmdbStore.add_dictionary`."""
        await self._write(lambda: self._store.add_dictionary(raw))
        return True

    async def counts(self) -> TierCounts:
        """Return sizes and counts.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        entries, size = await self._write(self._store.size)
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
        if self._writing is not None:
            await self._writing
        await self._run(self._reader, lambda: None)
        await self._write(self._store.close)
        for thread in (self._reader, self._writer):
            thread.shutdown(wait=False)

    def _refuse_paused(self) -> None:
        left = self._paused_until - time.monotonic()
        if left > 0:
            message = f"the answer store could not be written; it tries again in {left:.1f} s"
            raise RouterError(Reason.STORE_FAILED, message, retry_after=left)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[_Write]) -> None:
        failure: Exception | None = None
        try:
            await self._write(lambda: self._store.put([(key, kept) for key, kept, _ in batch]))
        except Exception as error:  # noqa: BLE001 - told to everyone who waits
            failure = error
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
        for _, record, written in batch:
            # Freed when it is written and no sooner: a caller that gives up leaves it in the queue.
            self._waiting_bytes -= len(record.payload)
            if failure is None:
                written.set_result(None)
            else:
                written.set_exception(failure)
                written.exception()  # told to the caller, unless it gave up

    async def _write(self, work: Callable[[], _T]) -> _T:
        return await self._run(self._writer, work)

    @staticmethod
    async def _run(thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
