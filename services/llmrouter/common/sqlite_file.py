"""One SQLite file of a service: made of its owner alone, and begun anew where it is damaged.

Blocking, and of one thread at a time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["SqliteFile"]

_WAIT_SECONDS = 5
_log = logging.getLogger(__name__)
T = TypeVar("T")


class SqliteFile:
    """Opens the file when it is needed; what fails closes it.

    Args:
        path: The file.
        schema: Statements that make its tables, where they are not there.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._database: sqlite3.Connection | None = None

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` does with the database, in one transaction.

        A file that is no database, or a damaged one, is set aside as `<name>.damaged`.

        Raises:
            OSError: It cannot be reached.
            sqlite3.Error: It cannot be read or written.
        """
        try:
            return self._run(work)
        except sqlite3.OperationalError:
            raise  # locked, or no room: the file itself is as it should be
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            _log.error("%s is damaged (%s) and set aside as %s", self.path, error, aside)
            self.path.replace(aside)
            return self._run(work)

    def shrink(self) -> None:
        """Give free pages back to the disk.

        Raises:
            OSError, sqlite3.Error: As `run`.
        """
        # A script: by `execute` the pragma would free one page and stop.
        self._opened().executescript("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Close it; the next use opens it again."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            database = self._opened()
            with database:
                database.execute("BEGIN IMMEDIATE")
                return work(database)
        except sqlite3.Error:
            self.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            made = not self.path.exists()
            self._database = sqlite3.connect(
                self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            if made:
                self.path.chmod(0o600)
            self._database.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(self._schema)
        return self._database
