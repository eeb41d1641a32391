"""The audit log: administrative acts and refusals, one JSON object per line, in bounded files.

Half of the bound is the file's, half that of the one before it (`<name>.1`). Lines are whole
whoever else writes: the gateway and the command line share the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["AuditFile", "AuditTrail"]

_MAX_WAITING = 1024
_LONGEST = 512
"""Characters of one fact."""
_log = logging.getLogger(__name__)


class AuditFile:
    """Appends lines. Blocking.

    Args:
        path: The file; made of its owner alone.
        max_bytes: Bytes of it and the one before it together at most.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._largest = path, max_bytes // 2

    def write(self, act: str, facts: Mapping[str, object]) -> None:
        """Append one line: `time` (UTC), `act` and the facts, each cut to 512 characters.

        Raises:
            OSError: It cannot be written.
        """
        told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "act": act}
        told |= {name: str(value)[:_LONGEST] for name, value in facts.items() if value != ""}
        line = (json.dumps(told, ensure_ascii=False) + "\n").encode(errors="replace")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while not self._append(line):
            pass  # somebody began a new file meanwhile

    def _append(self, line: bytes) -> bool:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with os.fdopen(os.open(self._path, flags, 0o600), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            held = os.fstat(file.fileno())
            try:
                if self._path.stat().st_ino != held.st_ino:
                    return False
            except FileNotFoundError:
                return False
            if held.st_size and held.st_size + len(line) > self._largest:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                return False
            file.write(line)
            return True


class AuditTrail:
    """Writes from an event loop without waiting: one thread, a bounded queue.

    What finds no room is counted, and told by the next line that is written.
    """

    def __init__(self, file: AuditFile) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-audit")
        self._room = threading.Semaphore(_MAX_WAITING)
        self._lost = 0
        self._failing = False

    def tell(self, act: str, **facts: object) -> None:
        """Have a line written; called from one thread."""
        if not self._room.acquire(blocking=False):
            self._lost += 1
            return
        if self._lost:
            facts["lost_before"] = self._lost
            self._lost = 0
        with contextlib.suppress(RuntimeError):  # closed
            self._thread.submit(self._write, act, facts)

    async def close(self) -> None:
        """Write what waits; nothing is taken any more."""
        await asyncio.to_thread(self._thread.shutdown)

    def _write(self, act: str, facts: Mapping[str, object]) -> None:
        try:
            self._file.write(act, facts)
        except OSError as error:
            if not self._failing:
                _log.error("the audit log cannot be written: %s", error)
            self._failing = True
        else:
            self._failing = False
        finally:
            self._room.release()
