"""Past choices in one SQLite file: told, found, the oldest forgotten. All of it blocks."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

__all__ = ["DecisionRows", "Row"]

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
_Result = TypeVar("_Result")


class Row(NamedTuple):
    """One choice, as it is kept."""

    plan_id: str
    record: str
    """JSON."""
    catalog: str
    """What its catalog goes by."""
    told: str | None
    """The catalog as JSON; None where another row of the same time has it."""


class DecisionRows:
    """One file. A damaged one is set aside, named in the log, and begun anew.

    Args:
        path: The file; it is made with the first choice.
        most: Choices kept at most.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._most = path, most
        self._failed = False

    def put(self, rows: Sequence[Row]) -> None:
        """Keep choices, oldest first; those that cannot be kept are told in the log."""

        def put(file: sqlite3.Connection) -> None:
            for one in rows:
                if one.told is not None:
                    told = one.catalog, one.told
                    file.execute("INSERT OR IGNORE INTO catalogs VALUES (?, ?)", told)
                row = one.plan_id, one.catalog, one.record
                file.execute("INSERT OR REPLACE INTO decisions VALUES (NULL, ?, ?, ?)", row)
            file.execute(
                "DELETE FROM decisions WHERE number <= (SELECT max(number) FROM decisions) - ?",
                (self._most,),
            )
            file.execute("DELETE FROM catalogs WHERE id NOT IN (SELECT catalog FROM decisions)")

        try:
            self._do(put)
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                _log.warning("past choices cannot be kept in %s: %s", self._path, error)
            self._failed = True
        else:
            self._failed = False

    def find(self, plan_id: str) -> str | None:
        """Return the record of a choice with its catalog, as JSON; None where none can be read."""
        if not self._path.exists():
            return None
        asked = "SELECT record, told FROM decisions JOIN catalogs ON id = catalog WHERE plan_id = ?"
        try:
            found = self._do(lambda file: file.execute(asked, (plan_id,)).fetchone())
            return found and json.dumps({**json.loads(found[0]), "catalog": json.loads(found[1])})
        except (sqlite3.Error, OSError, ValueError, TypeError, RecursionError) as error:
            _log.warning("the kept choice %s cannot be read: %s", plan_id, error)
            return None

    def _do(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Return what comes of some work on the file; it is done on a new one if this is damaged.

        Raises:
            sqlite3.Error, OSError: It cannot be done.
        """
        try:
            return self._done(work)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            _log.error("%s is damaged (%s); set aside as %s", self._path, error, aside.name)
            self._path.replace(aside)
            # What it began and did not end is no part of the new file.
            self._path.with_name(f"{self._path.name}-journal").unlink(missing_ok=True)
            return self._done(work)

    def _done(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as file, file:
            file.executescript(_SCHEMA)
            return work(file)
