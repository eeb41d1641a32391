"""What the selector remembers over a restart: small documents in SQLite, written in a thread.

Losing the store loses no request: what cannot be written is told in the log and by `trouble`, and
the selector goes on with what it has in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from llmrouter.common.sqlite_errors import sqlite_said

__all__ = ["Documents", "SqliteState", "StateStore"]

Documents = dict[str, dict[str, dict[str, Any]]]
"""By kind and key."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (
    kind TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""
_WAIT_SECONDS = 5.0
_AGAIN_SECONDS = 5.0
_log = logging.getLogger(__name__)


class StateStore(Protocol):
    """Where documents go; `put` returns at once."""

    @property
    def trouble(self) -> str:
        """What is lost at a restart, and why; empty while all is well."""
        ...

    def put(self, kind: str, key: str, data: Mapping[str, Any] | None) -> None:
        """Keep a document from now on; None drops it."""
        ...


class SqliteState:
    """One file. A damaged one is set aside, named in the log, and begun anew.

    What cannot be written waits, the newest of each key, and is tried again with the next document
    or after a while, the file opened anew: it may have been made on a disk that was full.
    """

    def __init__(self, path: Path, again: float = _AGAIN_SECONDS) -> None:
        """Prepare it; nothing is opened before `load`.

        Args:
            path: The file.
            again: Seconds after which what failed is tried again.
        """
        self._path, self._again = path, again
        self._loop: asyncio.AbstractEventLoop | None = None
        """While it is open."""
        self._timer: asyncio.TimerHandle | None = None
        self._owed: dict[tuple[str, str], str | None] = {}
        """What is not written yet; of the thread alone."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="selector-state")
        self._connection: sqlite3.Connection | None = None
        self.trouble = ""

    async def load(self) -> Documents:
        """Open the file and return all documents; none where it cannot be read."""
        self._loop = asyncio.get_running_loop()
        return await self._loop.run_in_executor(self._thread, self._load)

    def put(self, kind: str, key: str, data: Mapping[str, Any] | None) -> None:
        """Keep a document; writes happen in their order. After `close`, nothing is kept."""
        text = None if data is None else json.dumps(data)
        self._submit({(kind, key): text})

    def tell(self, kind: str, key: str, data: Mapping[str, Any]) -> bool:
        """Return False: there is no other selector to be told."""
        return False

    async def close(self) -> None:
        """Write what waits, then close. Safe to call twice."""
        self._submit({})
        loop, self._loop = self._loop, None
        if loop is not None:
            await loop.run_in_executor(self._thread, self._close)
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=False)

    def _load(self) -> Documents:
        try:
            return self._read()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                self._fail(error)
                return {}
            return self._begin_anew(error)
        except OSError as error:
            self._fail(error)
            return {}

    def _begin_anew(self, error: Exception) -> Documents:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        _log.error("%s is damaged (%s); set aside as %s", self._path, error, aside.name)
        try:
            self._close()
            self._path.replace(aside)
            return self._read()
        except (sqlite3.Error, OSError) as again:
            self._fail(again)
            return {}

    def _read(self) -> Documents:
        found: Documents = {}
        for kind, key, text in self._opened().execute("SELECT kind, key, data FROM state"):
            with contextlib.suppress(ValueError):
                data = json.loads(text)
                if isinstance(data, dict):
                    found.setdefault(kind, {})[key] = data
        return found

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self._path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_SCHEMA)
        return self._connection

    def _submit(self, documents: Mapping[tuple[str, str], str | None]) -> None:
        if self._loop is not None:
            self._thread.submit(self._write, documents)

    def _write(self, documents: Mapping[tuple[str, str], str | None]) -> None:
        self._owed |= documents
        try:
            database = self._opened()
            for kind, key in list(self._owed):
                text = self._owed[kind, key]
                if text is None:
                    database.execute("DELETE FROM state WHERE kind=? AND key=?", (kind, key))
                else:
                    database.execute("REPLACE INTO state VALUES (?, ?, ?)", (kind, key, text))
                del self._owed[kind, key]
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        else:
            self.trouble = ""

    def _fail(self, error: Exception) -> None:
        self._close()
        said = sqlite_said(error)
        if not self.trouble:
            _log.warning("the selector's state cannot be kept in %s: %s", self._path, said)
        self.trouble = f"{self._path} cannot be used ({said}): a restart forgets what changes"
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._try_later, loop)

    def _try_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._loop is not None:
            self._timer = loop.call_later(self._again, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        self._submit({})

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
