"""The ledger in SQLite. Blocking; one writer, any number of readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llmrouter.common.sqlite_file import SqliteFile
from llmrouter.gateway.ledger.entry import COLUMNS, DayKey, Entry, Sums, sums_by_day
from llmrouter.gateway.ledger.settings import LedgerSettings

__all__ = ["LedgerFile", "read_entries", "read_sums"]

_TEXTS = frozenset(
    {"request_id", "tenant", "user", "credential", "operation", "model", "version", "cache",
     "outcome"}
)  # fmt: skip
_TYPES = ", ".join(
    f"{name} {'TEXT' if name in _TEXTS else 'REAL' if name == 'time' else 'INTEGER'} NOT NULL"
    for name in COLUMNS
)
_SUMS = tuple(Sums.__slots__)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, {_TYPES});
CREATE INDEX IF NOT EXISTS entries_by_time ON entries (time);
CREATE TABLE IF NOT EXISTS days (
    day TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, model TEXT NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)},
    PRIMARY KEY (day, tenant, user, model)
) WITHOUT ROWID;
"""
_INSERT = (
    f"INSERT INTO entries ({', '.join(COLUMNS)}) "  # noqa: S608 - names of our own
    f"VALUES ({', '.join('?' * len(COLUMNS))})"
)
_ADD = (
    f"INSERT INTO days VALUES ({', '.join('?' * (4 + len(_SUMS)))}) "  # noqa: S608 - names of our own
    "ON CONFLICT (day, tenant, user, model) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
)
_CUT = 10
"""The share of rows that go at once where the file is too large: one in so many."""
_DAY_SECONDS = 86_400


class LedgerFile:
    """Writes rows, and keeps the file within its bounds.

    Args:
        path: The file.
        settings: Its bounds.
    """

    def __init__(self, path: Path, settings: LedgerSettings) -> None:
        self._file, self._settings = SqliteFile(path, _SCHEMA), settings

    def write(self, entries: Sequence[Entry]) -> None:
        """Add rows, and their sums.

        Raises:
            OSError: It cannot be reached.
            sqlite3.Error: It cannot be written.
        """
        sums = [(*key, *astuple(one)) for key, one in sums_by_day(entries).items()]

        def work(database: sqlite3.Connection) -> None:
            if self._settings.keep_days:
                rows = [astuple(entry) for entry in entries if entry.is_row]
                database.executemany(_INSERT, rows)
            database.executemany(_ADD, sums)

        self._file.run(work)

    def prune(self, now: float) -> None:
        """Let go of what is too old or too much.

        Args:
            now: Seconds since the epoch.

        Raises:
            OSError, sqlite3.Error: As `write`.
        """
        settings = self._settings
        oldest = datetime.fromtimestamp(now, UTC) - timedelta(days=settings.keep_summary_days)

        def work(database: sqlite3.Connection) -> None:
            before = now - settings.keep_days * _DAY_SECONDS
            database.execute("DELETE FROM entries WHERE time < ?", (before,))
            database.execute("DELETE FROM days WHERE day < ?", (f"{oldest:%Y-%m-%d}",))
            while _size(database) > settings.max_bytes and _cut(database):
                pass

        self._file.run(work)
        self._file.shrink()

    def close(self) -> None:
        """Close it."""
        self._file.close()


def read_sums(path: Path, since: str, until: str) -> Iterator[tuple[DayKey, Sums]]:
    """Give the sums of the days from `since` to `until`, both included, in order.

    Raises:
        OSError, sqlite3.Error: It is not there, or no ledger.
    """
    with closing(_reading(path)) as database:
        told = "SELECT * FROM days WHERE day BETWEEN ? AND ? ORDER BY day, tenant, user, model"
        for row in database.execute(told, (since, until)):
            yield DayKey(*row[:4]), Sums(*row[4:])


def read_entries(path: Path, since: str, until: str) -> Iterator[Entry]:
    """Give the rows of the days from `since` to `until`, both included, in order.

    Raises:
        OSError, sqlite3.Error: It is not there, or no ledger.
    """
    begin = datetime.fromisoformat(since).replace(tzinfo=UTC)
    end = datetime.fromisoformat(until).replace(tzinfo=UTC) + timedelta(days=1)
    with closing(_reading(path)) as database:
        asked = (
            f"SELECT {', '.join(COLUMNS)} FROM entries "  # noqa: S608 - names of our own
            "WHERE time >= ? AND time < ? ORDER BY time, id"
        )
        for row in database.execute(asked, (begin.timestamp(), end.timestamp())):
            told = dict(zip(COLUMNS, row, strict=True))
            yield Entry(**{**told, "cached": bool(told["cached"])})


def _reading(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=5, uri=True)


def _size(database: sqlite3.Connection) -> int:
    """Return the bytes that are in use."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _cut(database: sqlite3.Connection) -> bool:
    """Let go of some of the oldest rows, else days; return whether there were any."""
    for table, order in (("entries", "id"), ("days", "day")):
        count = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names of our own
        if not count:
            continue
        some = max(1, count // _CUT)
        told = f"SELECT {order} FROM {table} ORDER BY {order} LIMIT 1 OFFSET ?"  # noqa: S608 - names of our own
        last = database.execute(told, (some - 1,)).fetchone()[0]
        database.execute(f"DELETE FROM {table} WHERE {order} <= ?", (last,))  # noqa: S608 - names of our own
        return True
    return False
