"""Opening LMDB so that no damage to its files costs more than what lay in them."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from pathlib import Path
from typing import IO, Any

import lmdb

from llmrouter.cache.lmdb_pages import check_pages

__all__ = ["CORRUPT", "Environment", "hold_folder", "open_folder", "set_folder_aside"]

CORRUPT = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.VersionMismatchError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.IncompatibleError,
    lmdb.BadTxnError,
    lmdb.PageFullError,
)
"""What LMDB raises where its files are not what it has written. It reads them as mapped memory:
some damage within a page that looks right ends the process instead."""
_LOCK_BYTES = 8192
"""Of LMDB's lock file, with its 126 readers."""
_log = logging.getLogger(__name__)


def hold_folder(path: Path) -> IO[bytes]:
    """Return an open file that keeps others out of a folder until it is closed or its process ends.

    Two services on one folder would not hear of each other's invalidations.

    Raises:
        OSError: EAGAIN when another holds it; or the folder cannot be made or written.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = (path / "owner.lock").open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        told = "another suite or cache service runs on this data folder"
        raise BlockingIOError(errno.EAGAIN, told) from error
    except OSError:
        held.close()
        raise
    return held


class Environment:
    """LMDB's, of a file that is looked at before each transaction.

    LMDB reads the file as memory: where somebody has cut it off, touching what is missing would
    end the process.
    """

    def __init__(self, env: Any, file: Path) -> None:
        self._env = env
        self._file = file
        self._size = file.stat().st_size
        self.open_db = env.open_db
        self.close = env.close

    def begin(self, **options: Any) -> Any:
        """Return a transaction.

        Raises:
            lmdb.CorruptedError: The file is shorter than it was.
            OSError: It cannot be looked at.
        """
        known, size = self._size, self._file.stat().st_size
        if size < known:  # it grows in another thread, and never shrinks
            raise lmdb.CorruptedError(f"data.mdb has {size} bytes, it had {known}")
        self._size = size
        return self._env.begin(**options)


def open_folder(path: Path, max_bytes: int, tables: int, *, durable: bool = True) -> Environment:
    """Open or create an environment that none but its owner may read.

    Args:
        path: Its folder.
        max_bytes: Size of its file at most.
        tables: Named tables at most.
        durable: Whether a commit returns once the disk has it.

    Raises:
        lmdb.Error: It cannot be opened; one of `CORRUPT` where it is damaged.
        OSError: The folder cannot be made or looked at.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = path / "data.mdb"
    if file.exists() and not file.stat().st_size:
        raise lmdb.CorruptedError("data.mdb is empty")
    _reserve(path / "lock.mdb")
    env = lmdb.open(
        str(path), map_size=max_bytes, max_dbs=tables, mode=0o600, metasync=durable, sync=durable
    )
    try:
        _refuse_truncated(env, file)
        return Environment(env, file)
    except BaseException:
        env.close()
        raise


def set_folder_aside(path: Path, error: Exception) -> None:
    """Move a damaged folder out of the way, and name its new place in the log."""
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(aside)
    for older in path.parent.glob(f"{path.name}.corrupt-*"):
        if older != aside:  # the latest is kept to be looked at, and no heap of them
            shutil.rmtree(older, ignore_errors=True)
    _log.error("answer store %s is damaged (%s); set aside as %s", path, error, aside)


def _reserve(file: Path) -> None:
    """Give the file by which LMDB locks its place on the disk.

    LMDB maps it as a hole; on a full disk touching it would end the process.

    Raises:
        OSError: There is no room, or it cannot be written.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
    finally:
        os.close(descriptor)


def _refuse_truncated(env: Any, file: Path) -> None:
    """Refuse a file that lacks a page: touching it would end the process."""
    page_size, size = env.stat()["psize"], file.stat().st_size
    if size < (env.info()["last_pgno"] + 1) * page_size:
        with file.open("rb") as opened:
            check_pages(opened.fileno(), page_size, size)
