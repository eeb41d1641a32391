"""What counters hold, in SQLite: read once at the start, written behind in a thread.

A crash loses what was counted within the last moments (`_PAUSE_SECONDS`); a damaged file is set
aside and begun anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from llmrouter.common.sqlite_file import SqliteFile
from llmrouter.gateway.limits.counters import CalendarCounter, SlidingCounter

__all__ = ["QuotaFile"]

_PAUSE_SECONDS = 0.05
_MIN_WINDOW = 60_000
"""Milliseconds; shorter windows are over before a gateway has started again."""
_SCHEMA = """CREATE TABLE IF NOT EXISTS counters
    (name TEXT PRIMARY KEY, until INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;"""
_CLEANED_EVERY = 1_000
"""Writes after which rows that count no longer are deleted."""
_log = logging.getLogger(__name__)

Kept = SlidingCounter | CalendarCounter
_Row = tuple[str, int, str]


class QuotaFile:
    """Keeps counters.

    Args:
        path: The file; made of its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, _SCHEMA)
        self._changed: dict[str, Kept] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._writes = 0
        self.trouble = ""
        """Why nothing is kept now; empty while it is."""

    async def start(self, now: int) -> dict[str, Kept]:
        """Return what was kept and still counts, and begin to write.

        Args:
            now: Milliseconds since the epoch.
        """
        try:
            rows = await asyncio.to_thread(self._load, now)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            rows = []
        self._task = asyncio.create_task(self._write_behind(), name="keep limits")
        return dict(_read(rows))

    def keep(self, name: str, counter: Kept) -> None:
        """Have a counter written soon, as it stands then."""
        if isinstance(counter, SlidingCounter) and counter.window < _MIN_WINDOW:
            return
        self._changed[name] = counter
        self._wake.set()

    async def close(self) -> None:
        """Write what is left. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            self._closing = True
            self._wake.set()
            await task
            await asyncio.to_thread(self._file.close)

    async def _write_behind(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            await self._write_changed()
            if not self._closing:
                await asyncio.sleep(_PAUSE_SECONDS)
        await self._write_changed()

    async def _write_changed(self) -> None:
        changed, self._changed = self._changed, {}
        if not changed:
            return
        rows = [_row(name, counter) for name, counter in changed.items()]
        try:
            await asyncio.to_thread(self._write, rows)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            self._changed = {**changed, **self._changed}
        else:
            self.trouble = ""

    def _fail(self, error: Exception) -> None:
        if not self.trouble:
            _log.error("limits cannot be kept in %s: %s", self._file.path, error)
        self.trouble = (
            f"limits cannot be kept in {self._file.path} ({error}): a restart forgets them"
        )

    def _load(self, now: int) -> list[_Row]:
        def work(database: sqlite3.Connection) -> list[_Row]:
            database.execute("DELETE FROM counters WHERE until <= ?", (now,))
            return database.execute("SELECT name, until, state FROM counters").fetchall()

        return self._file.run(work)

    def _write(self, rows: list[_Row]) -> None:
        def work(database: sqlite3.Connection) -> None:
            database.executemany("REPLACE INTO counters VALUES (?, ?, ?)", rows)
            if self._writes % _CLEANED_EVERY == 0:
                now = time.time_ns() // 1_000_000
                database.execute("DELETE FROM counters WHERE until <= ?", (now,))

        self._writes += 1
        self._file.run(work)


def _row(name: str, counter: Kept) -> _Row:
    if isinstance(counter, CalendarCounter):
        state = {"spent": counter.spent, "requests": counter.requests, "alerts": counter.alerts}
        return name, counter.ends, json.dumps(state)
    chunks = counter.chunks
    until = chunks[-1][1] + counter.window if chunks else 0
    return name, until, json.dumps({"window": counter.window, "chunks": chunks})


def _read(rows: Iterable[_Row]) -> Iterable[tuple[str, Kept]]:
    for name, until, text in rows:
        try:
            state = json.loads(text)
            if "window" in state:
                yield name, SlidingCounter(int(state["window"]), state["chunks"])
            else:
                yield name, CalendarCounter(until, **state)
        except (ValueError, TypeError, KeyError) as error:
            _log.warning("the kept counter %r cannot be read: %s", name, error)
