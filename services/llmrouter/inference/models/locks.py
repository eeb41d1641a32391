"""Locks on folders, by which processes of one machine take turns; a dead one holds none."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["in_use", "lock", "locked"]


def lock(folder: Path) -> int:
    """Hold a lock on `folder` for as long as the returned descriptor is open.

    Raises:
        BlockingIOError: Another holds it.
        NotADirectoryError: It is no folder, but perhaps a link to one.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Wait until this process alone holds the lock on `folder`; `on_wait` tells who has to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def in_use(folder: Path) -> bool:
    """Whether another holds the lock on `folder`."""
    try:
        os.close(lock(folder))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
