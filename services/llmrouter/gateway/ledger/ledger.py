"""Takes in every request that ends, and writes it down behind: no request waits for a disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable

from llmrouter.common.bill import Bill
from llmrouter.gateway.ledger.entry import Entry
from llmrouter.gateway.ledger.ledger_file import LedgerFile
from llmrouter.gateway.limits.resources import NANO
from llmrouter.gateway.record import SPARED, RequestRecord

__all__ = ["Ledger"]

_MAX_WAITING = 20_000
_AT_ONCE = 1_000
_PAUSE_SECONDS = 0.25
_PRUNED_EVERY_SECONDS = 600.0
_log = logging.getLogger(__name__)


class Ledger:
    """A `RequestObserver` with a bounded queue; what finds no room there is counted and told.

    Args:
        file: Where rows go.
        clock: Seconds since the epoch.
    """

    def __init__(self, file: LedgerFile, clock: Callable[[], float] = time.time) -> None:
        self._file, self._clock = file, clock
        self._waiting: deque[Entry] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._lost = 0
        self._pruned = -_PRUNED_EVERY_SECONDS
        self.trouble = ""
        """Why nothing is written now; empty while it is."""

    def ended(self, record: RequestRecord) -> None:
        """Take in that a request is over; it is written once nothing more is added to its bill."""
        if not record.operation:
            return  # refused unread: nobody knows who it was
        bill, now = record.bill or Bill(), self._clock()
        bill.settled(lambda: self._note(_entry(record, bill, now)))

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write_behind(), name="ledger")

    async def close(self) -> None:
        """Write what is left. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            self._closing = True
            self._wake.set()
            await task

    def _note(self, entry: Entry) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append(entry)
        self._wake.set()

    async def _write_behind(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and await self._write_some():
                pass
            if not self._closing:
                await asyncio.sleep(_PAUSE_SECONDS)
                if self._waiting:  # a write failed
                    self._wake.set()
        await self._write_all()
        await asyncio.to_thread(self._file.close)

    async def _write_all(self) -> None:
        while self._waiting and await self._write_some():
            pass

    async def _write_some(self) -> bool:
        some = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        try:
            await asyncio.to_thread(self._write, some)
        except (OSError, sqlite3.Error) as error:
            self._waiting.extendleft(reversed(some))
            if not self.trouble:
                _log.error("the ledger cannot be written: %s", error)
            self.trouble = f"the ledger cannot be written: {error}"
            return False
        if self._lost:
            _log.error("the ledger lacks %d requests: it could not be written for too long",
                       self._lost)  # fmt: skip
            self._lost = 0
        self.trouble = ""
        return True

    def _write(self, entries: list[Entry]) -> None:
        self._file.write(entries)
        if time.monotonic() - self._pruned >= _PRUNED_EVERY_SECONDS:
            self._pruned = time.monotonic()
            self._file.prune(self._clock())


def _entry(record: RequestRecord, bill: Bill, now: float) -> Entry:
    cached = record.cache in SPARED
    used = record.usage if cached else bill
    return Entry(
        time=now,
        request_id=record.request_id,
        tenant=record.tenant,
        user=record.user,
        credential=record.credential,
        operation=record.operation,
        model=record.model,
        version=record.version,
        prompt_tokens=used.prompt_tokens,
        cached_prompt_tokens=used.cached_prompt_tokens,
        completion_tokens=used.completion_tokens,
        cost=round(bill.cost * NANO),
        cache=record.cache,
        cached=cached,
        outcome=record.outcome,
    )
