"""Past choices over a restart: the newest of them in one SQLite file, written behind by a thread.

What cannot be written is lost to a restart and to nothing else.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmrouter.selector.decision_rows import DecisionRows, Row
from llmrouter.selector.decisions import Decision, DecisionLog, RecordWriter

__all__ = ["DecisionFile"]

_EVERY_SECONDS = 5.0
_SETTLED_SECONDS = 5.0
"""How old a choice is when it is written: most outcomes are known by then."""
_AT_ONCE = 100
"""Choices written each time at most, the newest: some milliseconds of this process each second.
At the end as many are written as are kept."""


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
        self._most, self._log, self._wall = most, log, wall
        self._rows = DecisionRows(path, most)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="selector-decisions")
        self._last = ""
        """The newest choice that was written."""
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
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._rows.find, plan_id
        )

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
        rows = []
        for plan_id, decision in fresh:
            record, catalog = writer.parts(plan_id, decision)
            told = None if catalog is None else json.dumps(catalog)
            name = record["made_from"]["catalog_id"]
            rows.append(Row(plan_id, json.dumps(record, allow_nan=False), name, told))
        self._rows.put(rows)
