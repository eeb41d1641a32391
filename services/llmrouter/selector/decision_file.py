"""Past choices over a restart: the newest of them in one SQLite file, written behind by a thread.

What cannot be written is lost to a restart and to nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmrouter.selector.decision_rows import DecisionRows, Row
from llmrouter.selector.decisions import Decision, DecisionLog, RecordWriter
from llmrouter.selector.settings import DecisionSettings

__all__ = ["DecisionFile"]

_EVERY_SECONDS = 5.0
_SETTLED_SECONDS = 5.0
"""How old a choice is when it is written: most outcomes are known by then."""
_WORK_SECONDS = 0.05
"""What the records of one time may take to make, of one processor: a percent of it."""
_LAST_WORK_SECONDS = 5.0
"""What they may take at the end, when nothing else is asked any more."""
_log = logging.getLogger(__name__)


class DecisionFile:
    """Keeps the newest choices of a log from `start` to `close`, and finds those kept before.

    Args:
        path: The file; it is made with the first choice.
        settings: How many are kept, in how many bytes; a `kept` of 0 keeps none.
        log: Has the choices that were made since the start.
        wall: Seconds since the epoch, as the choices have them.
        worked: Seconds that the calling thread has worked.
    """

    def __init__(
        self,
        path: Path,
        settings: DecisionSettings,
        log: DecisionLog,
        wall: Callable[[], float] = time.time,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self._most, self._log, self._wall, self._worked = settings.kept, log, wall, worked
        self._rows = DecisionRows(path, settings.kept, settings.kept_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="selector-decisions")
        self._last = ""
        """The newest choice that was written."""
        self._told = False
        """Whether it was said that some are left out."""
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
            await self.write(settled_by=self._wall(), seconds=_LAST_WORK_SECONDS)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._rows.close)
        self._thread.shutdown(wait=False)

    async def find(self, plan_id: str) -> str | None:
        """Return the record of a choice with its catalog, as JSON; None where it is not kept."""
        if not self._most:
            return None
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._rows.find, plan_id
        )

    async def write(self, settled_by: float, seconds: float) -> None:
        """Keep choices that were made until then and are not kept yet, the newest first.

        Args:
            settled_by: Seconds since the epoch.
            seconds: The work on them; once it took so long the others are left out.
        """
        fresh = self._fresh(settled_by)
        if not fresh:
            return
        loop = asyncio.get_running_loop()
        left_out = await loop.run_in_executor(self._thread, self._put, fresh, seconds)
        self._last = fresh[0][0]
        if left_out and not self._told:
            self._told = True
            _log.info(
                "%d of %d past choices are left out of those kept over a restart, others may be: "
                "they take more than %g s of work at once, or than selector.decisions.kept_bytes",
                left_out, len(fresh), seconds,
            )  # fmt: skip

    def _fresh(self, settled_by: float) -> list[tuple[str, Decision]]:
        """Return the newest that are to be kept, newest first; those too young are none of them."""
        fresh: list[tuple[str, Decision]] = []
        for plan_id, decision in self._log.backwards():
            if plan_id == self._last or len(fresh) == self._most:
                break
            if decision.at <= settled_by:
                fresh.append((plan_id, decision))
        return fresh

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.write(settled_by=self._wall() - _SETTLED_SECONDS, seconds=_WORK_SECONDS)

    def _put(self, fresh: Sequence[tuple[str, Decision]], seconds: float) -> int:
        """Keep as many of them as fit, newest first; return how many are left out."""
        writer, until, room = RecordWriter(), self._worked() + seconds, self._rows.room
        rows: list[Row] = []
        for plan_id, decision in fresh:
            record, catalog = writer.parts(plan_id, decision)
            told = None if catalog is None else json.dumps(catalog)
            name = record["made_from"]["catalog_id"]
            row = Row(plan_id, json.dumps(record, allow_nan=False), name, told)
            room -= row.bytes
            if room < 0:
                break
            rows.append(row)
            if self._worked() >= until:
                break
        if rows:
            self._rows.put(rows[::-1])
        return len(fresh) - len(rows)
