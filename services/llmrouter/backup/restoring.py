"""Puts parts of an archive back where the settings say, all verified before any is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

from llmrouter.backup.archive import BackupError, Manifest, Progress, read_archive
from llmrouter.backup.parts import Kind, Part
from llmrouter.cache.lmdb_folder import hold_folder

__all__ = ["restore"]

_JOURNALS = ("-wal", "-shm", "-journal")


def restore(
    archive: Path,
    parts: Sequence[Part],
    told: Progress,
    *,
    replace: bool,
    all_of_them: bool = False,
) -> tuple[Manifest, list[Part]]:
    """Put back the parts that an archive has.

    Args:
        archive: The archive.
        parts: Those that are wanted, and where they go.
        told: Hears how far it is.
        replace: Whether what is there now may go.
        all_of_them: Whether the archive must have every part that is wanted.

    Returns:
        What the archive says of itself, and the parts that were put back.

    Raises:
        BackupError: The archive is refused, a part is there already, or a service is running.
        OSError: Something cannot be written; parts that were put back until then stay.
    """
    held = {one.name for one in read_archive(archive, lambda *_: None).parts}
    wanted = [part for part in parts if part.name in held]
    missing = [part.name for part in parts if part.name not in held]
    if not wanted or (all_of_them and missing):
        raise BackupError(f"{archive} has no part {', '.join(missing)}")
    if not replace:
        _refuse_to_overwrite(wanted)
    with ExitStack() as stack:
        for part in wanted:
            stack.enter_context(_alone(part))
        staged = {part.name: stack.enter_context(_staging(part)) for part in wanted}

        def keep(name: str) -> IO[bytes] | None:
            return (staged[name] / name).open("wb") if name in staged else None

        manifest = read_archive(archive, told, keep)
        for index, part in enumerate(wanted):
            _place(part, staged[part.name])
            told("restore", index + 1, len(wanted))
    return manifest, wanted


def _refuse_to_overwrite(parts: Sequence[Part]) -> None:
    there = [part for part in parts if part.there]
    if there:
        names = ", ".join(f"{part.name} ({part.path})" for part in there)
        raise BackupError(f"there already: {names}; --force replaces them")


@contextmanager
def _alone(part: Part) -> Iterator[None]:
    """Refuse while a service has the part open.

    Raises:
        BackupError: One has.
    """
    busy = BackupError(f"{part.name} in {part.path} is in use; stop the service that has it first")
    if part.kind is Kind.LMDB and part.path.is_dir():
        try:
            held = hold_folder(part.path)
        except BlockingIOError:
            raise busy from None
        with held:
            yield
        return
    if part.kind is Kind.SQLITE and part.path.exists():
        _refuse_open_database(part.path, busy)
    yield


def _refuse_open_database(path: Path, busy: BackupError) -> None:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
        try:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
        except sqlite3.OperationalError:
            raise busy from None
        except sqlite3.DatabaseError:
            pass  # damaged: that is why it is replaced


@contextmanager
def _staging(part: Part) -> Iterator[Path]:
    """Give a folder on the same file system as the part."""
    part.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=part.path.parent) as folder:
        yield Path(folder)


def _place(part: Part, staged: Path) -> None:
    """Let a staged part take the place of what is there."""
    file = staged / part.name
    file.chmod(0o600)
    with file.open("rb") as written:
        os.fsync(written.fileno())
    if part.kind is not Kind.LMDB:
        for ending in _JOURNALS if part.kind is Kind.SQLITE else ():
            part.path.with_name(part.path.name + ending).unlink(missing_ok=True)
        file.replace(part.path)
        return
    folder = staged / "folder"
    (folder / part.inside).mkdir(parents=True, mode=0o700)
    file.rename(folder / part.inside / "data.mdb")
    if part.path.is_dir():
        part.path.rename(staged / "before")
    folder.rename(part.path)
    shutil.rmtree(staged / "before", ignore_errors=True)
