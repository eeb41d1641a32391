"""Records in LMDB, bounded in bytes: blocking, for one thread that writes and one that reads.

Tables: `records` by key, two orders of the same keys, by expiry and by time of storing, so that
making room looks at nothing but what it drops, and `facts` about the store. Room is made in a
transaction of its own, because LMDB reuses freed pages only in the next one.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar

import lmdb

from llmrouter.cache.lmdb_folder import CORRUPT, hold_folder, open_folder, set_folder_aside
from llmrouter.cache.record import Record, RecordError
from llmrouter.cache.store_facts import (
    StoreFacts,
    read_facts,
    read_versions,
    write_dictionary,
    write_facts,
    write_marks,
    write_versions,
)
from llmrouter.common.errors import Reason, RouterError

__all__ = ["LmdbStore", "StoreDamagedError"]

_FILL = 0.8
"""Share of the map in use at most; the rest is for copies that a transaction makes of its pages."""
_BATCH = 256
_ORDER = struct.Struct(">Q")
_T = TypeVar("_T")


class StoreDamagedError(Exception):
    """Reading met damage: the writing thread has to `set_aside` the store."""


class LmdbStore:
    """A folder of records. A damaged one is set aside, named in the log, and begun anew."""

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
        grace: float = 0.0,
    ) -> None:
        """Open or create the store.

        Args:
            path: Its folder.
            max_bytes: Size of its file at most.
            clock: Seconds since the epoch.
            grace: Seconds that records are worth keeping once they have expired.

        Raises:
            RouterError: STORE_FAILED when the folder cannot be used; the message names it.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._grace = grace
        self.evictions = 0
        self._env: Any = None
        self._held: IO[bytes] | None = None
        self._tables: dict[str, Any] = {}
        self._known: StoreFacts | None = None  # what a store begun anew must know as well
        self._versions_known: dict[str, frozenset[str]] = {}
        self._opening = threading.RLock()  # held while reading, and while opening and closing
        try:
            self._guard(self._open_or_renew)
        except RouterError:
            self.close()
            raise

    def get(self, key: bytes) -> Record | None:
        """Return the record of a key, living or not.

        Raises:
            RecordError: It is damaged, and to be removed.
            StoreDamagedError: The store itself is damaged.
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        return self._guard(lambda: self._get(key))

    def put(self, items: Sequence[tuple[bytes, Record]]) -> None:
        """Keep records, all or none; returns once the disk has them.

        Makes room by dropping expired records, then those stored longest ago.

        Raises:
            RouterError: STORE_FAILED when the disk is full or cannot be written; what was stored
                before stays.
        """
        self._guard(lambda: self._renewing(lambda: self._put(items)))

    def remove(self, key: bytes) -> None:
        """Forget a record.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be written.
        """
        self._guard(lambda: self._renewing(lambda: self._remove([key])))

    def facts(self) -> StoreFacts:
        """Return what the store knows beside its records."""
        return self._guard(lambda: self._renewing(self._facts))

    def mark(self, marks: Sequence[tuple[bytes, int]], gone: Sequence[bytes], floor: int) -> None:
        """Note invalidations; returns once the disk has them.

        Args:
            marks: Labels and the sequences before which their answers are dead.
            gone: Labels that gave way to the floor.
            floor: The sequence before which all answers are dead.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be written.
        """
        self._guard(lambda: self._renewing(lambda: self._mark(marks, gone, floor)))

    def versions(self) -> dict[str, frozenset[str]]:
        """Return the versions that are remembered by model, what was noted longest ago first.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        return self._guard(lambda: self._renewing(self._versions))

    def note_versions(
        self, changed: Mapping[str, frozenset[str]], forgotten: Sequence[str]
    ) -> None:
        """Remember the versions of models; returns once the disk has them.

        Args:
            changed: All versions of each of these models.
            forgotten: Models that are remembered no longer.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be written.
        """
        self._guard(lambda: self._renewing(lambda: self._note_versions(changed, forgotten)))

    def add_dictionary(self, raw: bytes) -> None:
        """Keep a dictionary that payloads will name.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be written.
        """
        self._guard(lambda: self._renewing(lambda: self._add_dictionary(raw)))

    def size(self) -> tuple[int, int]:
        """Return the entries, expired ones included, and the bytes of pages in use."""
        return self._guard(lambda: self._renewing(self._size))

    def set_aside(self, error: Exception) -> None:
        """Move the store out of the way, name it in the log and begin a new one."""
        self._guard(lambda: self._renew(error))

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._path

    def close(self) -> None:
        """Close the store; it cannot be used again."""
        with self._opening:
            if self._env is not None:
                self._env.close()
                self._env = None
            if self._held is not None:
                self._held.close()
                self._held = None

    def _guard(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except (lmdb.Error, OSError) as error:
            raise RouterError(
                Reason.STORE_FAILED,
                f"the answer store {self._path} failed: {_why(error, self._path)}",
                retry_after=1.0,
            ) from error

    def _renewing(self, work: Callable[[], _T]) -> _T:
        if self._env is None:
            self._open_or_renew()
        try:
            return work()
        except CORRUPT as error:
            self._renew(error)
            return work()

    def _open_or_renew(self) -> None:
        try:
            self._open()
        except CORRUPT as error:
            self._renew(error)

    def _renew(self, error: Exception) -> None:
        with self._opening:
            self._move_away(error)
            self._open()
            if self._known is not None:
                with self._env.begin(write=True, db=self._tables["facts"]) as txn:
                    write_facts(txn, self._known)
                    write_versions(txn, self._versions_known, ())

    def _open(self) -> None:
        with self._opening:
            if self._held is None:
                self._held = hold_folder(self._path)
            self._env = open_folder(self._path, self._max_bytes, tables=5)
            for name in ("records", "by_expiry", "by_age", "facts"):
                self._tables[name] = self._env.open_db(name.encode())

    def _move_away(self, error: Exception) -> None:
        self.close()
        set_folder_aside(self._path, error)

    def _get(self, key: bytes) -> Record | None:
        with self._opening:
            if self._env is None:
                raise lmdb.Error("it is not open")
            try:
                with self._env.begin(db=self._tables["records"]) as txn:
                    data = txn.get(key)
            except CORRUPT as error:
                raise StoreDamagedError(str(error)) from error
        return None if data is None else Record.unpack(key, data)

    def _put(self, items: Sequence[tuple[bytes, Record]]) -> None:
        packed = [(key, record, record.pack(key)) for key, record in items]
        self._make_room(sum(len(data) for _, _, data in packed))
        for attempt in range(4):
            try:
                self._write(packed)
            except lmdb.MapFullError:
                if attempt == 3:
                    raise
                # Free pages may not lie together; drop ever more.
                self._drop_records(_BATCH << attempt)
            else:
                return

    def _write(self, packed: Sequence[tuple[bytes, Record, bytes]]) -> None:
        with self._env.begin(write=True) as txn:
            for key, record, data in packed:
                self._forget(txn, key)
                txn.put(key, data, db=self._tables["records"])
                txn.put(_order(record.expires_at) + key, b"", db=self._tables["by_expiry"])
                txn.put(_order(record.stored_at) + key, b"", db=self._tables["by_age"])

    def _facts(self) -> StoreFacts:
        with self._env.begin(write=True, db=self._tables["facts"]) as txn:
            found = read_facts(txn, self._clock())
        self._known = StoreFacts(found.id, found.sequence, (), found.dictionaries)
        return found

    def _mark(self, marks: Sequence[tuple[bytes, int]], gone: Sequence[bytes], floor: int) -> None:
        with self._env.begin(write=True, db=self._tables["facts"]) as txn:
            write_marks(txn, marks, gone, floor)
        if self._known is not None and marks:
            self._known = replace(self._known, floor=marks[-1][1])

    def _versions(self) -> dict[str, frozenset[str]]:
        with self._env.begin(db=self._tables["facts"]) as txn:
            self._versions_known = read_versions(txn)
        return self._versions_known

    def _note_versions(
        self, changed: Mapping[str, frozenset[str]], forgotten: Sequence[str]
    ) -> None:
        with self._env.begin(write=True, db=self._tables["facts"]) as txn:
            write_versions(txn, changed, forgotten)
        left = {name: one for name, one in self._versions_known.items() if name not in forgotten}
        self._versions_known = {**left, **changed}

    def _add_dictionary(self, raw: bytes) -> None:
        with self._env.begin(write=True, db=self._tables["facts"]) as txn:
            write_dictionary(txn, raw)
        if self._known is not None:
            self._known = replace(self._known, dictionaries=(*self._known.dictionaries, raw))

    def _make_room(self, incoming: int) -> None:
        allowed = self._max_bytes * _FILL
        for _ in range(10_000):
            if self._used() + 2 * incoming <= allowed or not self._drop_records(16):
                return

    def _used(self) -> int:
        with self._env.begin() as txn:
            stats = [txn.stat(table) for table in self._tables.values()]
        pages = ("branch_pages", "leaf_pages", "overflow_pages")
        return sum(int(stat["psize"]) * sum(int(stat[kind]) for kind in pages) for stat in stats)

    def _size(self) -> tuple[int, int]:
        with self._env.begin() as txn:
            entries = int(txn.stat(self._tables["records"])["entries"])
        return entries, self._used()

    def _drop_records(self, most: int) -> int:
        """Drop up to `most` records, expired ones first; return how many were dropped."""
        with self._env.begin(write=True) as txn:
            keys = self._first(txn, "by_expiry", most, _order(self._clock() - self._grace))
            expired = len(keys)
            keys = keys or self._first(txn, "by_age", most, None)
            for key in keys:
                self._forget(txn, key)
        self.evictions += len(keys) - expired
        return len(keys)

    def _first(self, txn: Any, table: str, most: int, before: bytes | None) -> list[bytes]:
        """Return the keys that come first in an order; what they leave in it is removed."""
        found: list[bytes] = []
        with contextlib.closing(txn.cursor(db=self._tables[table])) as cursor:
            for ordered in cursor.iternext(keys=True, values=False):
                if len(found) == most or (before is not None and ordered[:8] >= before):
                    break
                found.append(bytes(ordered))
        for ordered in found:
            txn.delete(ordered, db=self._tables[table])
        return [ordered[8:] for ordered in found]

    def _remove(self, keys: Sequence[bytes]) -> None:
        with self._env.begin(write=True) as txn:
            for key in keys:
                self._forget(txn, key)

    def _forget(self, txn: Any, key: bytes) -> None:
        data = txn.pop(key, db=self._tables["records"])
        if data is None:
            return
        with contextlib.suppress(RecordError):
            stored_at, expires_at = Record.times(data)
            txn.delete(_order(expires_at) + key, db=self._tables["by_expiry"])
            txn.delete(_order(stored_at) + key, db=self._tables["by_age"])


def _order(seconds: float) -> bytes:
    """Return a time as bytes that sort like it, in microseconds."""
    return _ORDER.pack(max(0, int(seconds * 1e6)))


def _why(error: Exception, path: Path) -> str:
    """Return what went wrong without the path, which the sentence names already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix(f"{path}: ")
