"""Past choices over a restart: the newest of them in one SQLite file, written behind by a thread.

What cannot be written is lost to a restart and to nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmrouter.selector.decisions import Decision, DecisionLog, RecordWriter

__all__ = ["DecisionFile"]

_EVERY_SECONDS = 5.0
_SETTLED_SECONDS = 5.0
"""How old a choice is when it is written: most outcomes are known by then."""
_AT_ONCE = 100
"""Choices written each time at most, the newest: some milliseconds of this process each second.
At the end as many are written as are kept."""
_WAIT_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY, plan_id TEXT NOT NULL UNIQUE, catalog TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_catalog ON decisions (catalog);
CREATE TABLE IF NOT EXISTS catalogs (id TEXT PRIMARY KEY, told TEXT NOT NULL);
"""
_log = logging.getLogger(__name__)


class DecisionFile:
    """Keeps the newest choices of a log from `start` to `close`, and finds those kept before.

    Args:
        path: The file; it is made with the first choice.
        most: Choices kept at most; 0 keeps none.
        log: Has the choices that were made since the start.
        wall: Seconds since the epoch, as the choices have them.
    """

    def __init__(
        self, path: Path, most: int, log: DecisionLog, wall: Callable[[], float] = time.time
    ) -> None:
        self._path, self._most, self._log, self._wall = path, most, log, wall
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="selector-decisions")
        self._last = ""
        """The newest choice that was written."""
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep what is decided."""
        if self._most:
            self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Keep what is not kept yet, and stop. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.write(settled_by=self._wall(), most=self._most)
        self._thread.shutdown(wait=False)

    async def find(self, plan_id: str) -> str | None:
        """Return the record of a choice with its catalog, as JSON; None where it is not kept."""
        if not self._most:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._find, plan_id)

    async def write(self, settled_by: float, most: int) -> None:
        """Keep the newest `most` choices that were made until then and are not kept yet."""
        fresh = self._fresh(settled_by, min(most, self._most))
        if fresh:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._put, fresh)
            self._last = fresh[-1][0]

    def _fresh(self, settled_by: float, most: int) -> list[tuple[str, Decision]]:
        """Return the newest that are to be kept, oldest first; those too young are none of them."""
        fresh: list[tuple[str, Decision]] = []
        for plan_id, decision in self._log.backwards():
            if plan_id == self._last or len(fresh) == most:
                break
            if decision.at <= settled_by:
                fresh.append((plan_id, decision))
        return fresh[::-1]

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.write(settled_by=self._wall() - _SETTLED_SECONDS, most=_AT_ONCE)

    def _put(self, fresh: Sequence[tuple[str, Decision]]) -> None:
        writer = RecordWriter()
        told = [(plan_id, *writer.parts(plan_id, decision)) for plan_id, decision in fresh]
        try:
            with contextlib.closing(self._open()) as file, file:
                for plan_id, record, catalog in told:
                    name = record["made_from"]["catalog_id"]
                    if catalog is not None:
                        one = (name, json.dumps(catalog))
                        file.execute("INSERT OR IGNORE INTO catalogs VALUES (?, ?)", one)
                    row = (plan_id, name, json.dumps(record, allow_nan=False))
                    file.execute("INSERT OR REPLACE INTO decisions VALUES (NULL, ?, ?, ?)", row)
                file.execute(
                    "DELETE FROM decisions WHERE number <= (SELECT max(number) FROM decisions) - ?",
                    (self._most,),
                )
                file.execute("DELETE FROM catalogs WHERE id NOT IN (SELECT catalog FROM decisions)")
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        else:
            self._failed = False

    def _find(self, plan_id: str) -> str | None:
        if not self._path.exists():
            return None
        asked = "SELECT record, told FROM decisions JOIN catalogs ON id = catalog WHERE plan_id = ?"
        try:
            with contextlib.closing(self._open()) as file:
                found = file.execute(asked, (plan_id,)).fetchone()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return None
        return found and json.dumps({**json.loads(found[0]), "catalog": json.loads(found[1])})

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self._path, timeout=_WAIT_SECONDS)
        try:
            file.executescript(_SCHEMA)
        except sqlite3.OperationalError:
            file.close()
            raise
        except sqlite3.DatabaseError as error:
            file.close()
            aside = self._path.with_name(f"{self._path.name}.damaged")
            _log.error("%s is damaged (%s); set aside as %s", self._path, error, aside.name)
            self._path.replace(aside)
            return self._open()
        return file

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            _log.warning("past choices cannot be kept in %s: %s", self._path, error)
        self._failed = True
