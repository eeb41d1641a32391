"""Copies of stores while services write to them: each is as its store was at one moment."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import lmdb

from llmrouter.backup.archive import BackupError
from llmrouter.backup.parts import Kind, Part

__all__ = ["snapshot"]

_WAIT_SECONDS = 10


def snapshot(part: Part, folder: Path) -> Path:
    """Return a file in `folder` that holds what a part holds now.

    Raises:
        BackupError: It cannot be read.
    """
    copy = folder / part.name
    try:
        if part.kind is Kind.SQLITE:
            _copy_sqlite(part.path, copy)
        elif part.kind is Kind.LMDB:
            _copy_lmdb(part.path / part.inside, copy)
        else:
            shutil.copyfile(part.path, copy)
    except (OSError, sqlite3.Error, lmdb.Error) as error:
        raise BackupError(f"{part.name} in {part.path} cannot be copied: {error}") from error
    return copy


def _copy_sqlite(path: Path, copy: Path) -> None:
    # In one step: done page by page, a copy begins anew whenever another process writes.
    place = f"{path.resolve().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(place, timeout=_WAIT_SECONDS, uri=True)) as database,
        closing(sqlite3.connect(copy)) as made,
    ):
        database.backup(made)
        made.execute("PRAGMA journal_mode=DELETE")
        [(well,)] = made.execute("PRAGMA quick_check(1)").fetchall()
        if well != "ok":
            raise sqlite3.DatabaseError(well)


def _copy_lmdb(path: Path, copy: Path) -> None:
    folder = copy.with_name(f"{copy.name}.lmdb")
    folder.mkdir()
    with closing(lmdb.open(str(path), readonly=True, create=False, lock=True)) as env:
        env.copy(str(folder), compact=True)
    (folder / "data.mdb").rename(copy)
    folder.rmdir()
