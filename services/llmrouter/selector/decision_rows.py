"""Past choices in one SQLite file: told, found, the oldest forgotten. All of it blocks."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmrouter.common.sqlite_file import SqliteFile

__all__ = ["DecisionRows", "Row"]

_PAGE_BYTES = 4096
_OVERHEAD_PAGES = 16
"""What tables and indexes take besides their rows, and grow by when they are written."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY, plan_id TEXT NOT NULL UNIQUE, catalog TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_catalog ON decisions (catalog);
CREATE TABLE IF NOT EXISTS catalogs (id TEXT PRIMARY KEY, told TEXT NOT NULL);
"""
_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One choice, as it is kept."""

    plan_id: str
    record: str
    """JSON."""
    catalog: str
    """What its catalog goes by."""
    told: str | None
    """The catalog as JSON; None where another row of the same time has it."""

    @property
    def bytes(self) -> int:
        """What it takes of the file at most: pages of its own, and its place in the indexes."""
        pages = sum(len(one) // (_PAGE_BYTES - 4) + 2 for one in (self.record, self.told or ""))
        return pages * _PAGE_BYTES + 2 * len(self.plan_id + self.catalog)


class DecisionRows:
    """One file. A damaged one is set aside, named in the log, and begun anew.

    Args:
        path: The file; it is made with the first choice.
        most: Choices kept at most.
        max_bytes: Bytes of the file at most.
    """

    def __init__(self, path: Path, most: int, max_bytes: int) -> None:
        self._file, self._most, self._max_bytes = SqliteFile(path, _SCHEMA), most, max_bytes
        self._failed = False

    @property
    def room(self) -> int:
        """Bytes of rows that can be put at once: the file has no others then."""
        return self._max_bytes - 2 * _OVERHEAD_PAGES * _PAGE_BYTES

    def put(self, rows: Sequence[Row]) -> None:
        """Keep choices, oldest first, in the place of those that were kept for longest.

        Those that cannot be kept are told in the log.

        Args:
            rows: No more of them than there is `room`.
        """

        def put(file: sqlite3.Connection) -> None:
            self._make_room(file, rows)
            for one in rows:
                if one.told is not None:
                    told = one.catalog, one.told
                    file.execute("INSERT OR IGNORE INTO catalogs VALUES (?, ?)", told)
                row = one.plan_id, one.catalog, one.record
                file.execute("INSERT OR REPLACE INTO decisions VALUES (NULL, ?, ?, ?)", row)

        try:
            self._file.run(put)
            if self._file.run(_bytes) > self._max_bytes:  # it was allowed more before
                self._file.shrink()
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                _log.warning("past choices cannot be kept in %s: %s", self._file.path, error)
            self._failed = True
        else:
            self._failed = False

    def find(self, plan_id: str) -> str | None:
        """Return the record of a choice with its catalog, as JSON; None where none can be read."""
        if not self._file.path.exists():
            return None
        asked = "SELECT record, told FROM decisions JOIN catalogs ON id = catalog WHERE plan_id = ?"
        try:
            found = self._file.run(lambda file: file.execute(asked, (plan_id,)).fetchone())
            return found and json.dumps({**json.loads(found[0]), "catalog": json.loads(found[1])})
        except (sqlite3.Error, OSError, ValueError, TypeError, RecursionError) as error:
            _log.warning("the kept choice %s cannot be read: %s", plan_id, error)
            return None

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._file.close()

    def _make_room(self, file: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Forget the oldest, as far as these are to stand there."""
        needed = sum(one.bytes for one in rows) + _OVERHEAD_PAGES * _PAGE_BYTES
        kept = max(0, self._most - len(rows))
        over = file.execute("SELECT count(*) FROM decisions").fetchone()[0] - kept
        while True:
            oldest = "SELECT number FROM decisions ORDER BY number LIMIT ?"
            gone = file.execute(
                f"DELETE FROM decisions WHERE number IN ({oldest})",  # noqa: S608 - no text of others
                (max(0, over),),
            )
            file.execute("DELETE FROM catalogs WHERE id NOT IN (SELECT catalog FROM decisions)")
            if _bytes(file, used=True) + needed <= self._max_bytes or (
                over > 0 and not gone.rowcount
            ):
                return
            over = max(2 * over, len(rows))


def _bytes(file: sqlite3.Connection, *, used: bool = False) -> int:
    """Return how large a file is, or what of it is in use."""
    pages, free, size = (
        file.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free * used) * size)
