"""Where the weights of a model lie as our kernels compute with them, for all processes to map.

Two replicas that read them from one file hold them in memory once, and a later load need not bring
them into order again. The files are made of a model's own and can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from llmrouter.inference.backends.native_graph import MatrixPlace

__all__ = ["SharedWeights"]

_UNFINISHED = ".new"
"""Ends the names of files that are being written, each locked by whoever does."""


class SharedWeights:
    """The files of all models below one folder, one folder for each.

    Args:
        root: A folder on a disk that is fast enough for weights; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def file(self, model: Path, version: str, matrices: Sequence[MatrixPlace]) -> Path | None:
        """Return the file for `matrices` of the model in the folder `model`.

        Its name tells what it is made of: the version, which stands for the contents of all files,
        and the files themselves, for folders without one. What was imported again has another; by
        which way the folder was reached plays no part, so that all who mount a store share.
        None where there is nothing to share.
        """
        if not matrices:
            return None
        real = model.resolve()
        files = {place.file: str(place.file.resolve().relative_to(real)) for place in matrices}
        told = hashlib.blake2b(f"{version}\n".encode(), digest_size=16)
        for file, name in sorted(files.items()):
            status = file.stat()
            told.update(f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n".encode())
        for place in matrices:
            told.update(repr(asdict(place) | {"file": files[place.file]}).encode())
        return self._root / model.name / told.hexdigest()

    def forget_others(self, kept: Path) -> None:
        """Remove what was made of earlier imports of the same model, and of models that are gone.

        Processes that have it mapped keep it until they end. What killed ones had begun goes too,
        and what is being written stays.
        """
        with suppress(OSError):
            for file in kept.parent.iterdir():
                if file != kept:
                    _discard(file)
            for folder in self._root.iterdir():
                if not (self._root.parent / folder.name).exists():
                    shutil.rmtree(folder, ignore_errors=True)


def _discard(file: Path) -> None:
    """Remove a file that nobody writes, or whatever else lies there; links are not followed."""
    with suppress(OSError):
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        elif file.name.endswith(_UNFINISHED):
            _discard_unwritten(file)
        else:
            file.unlink()


def _discard_unwritten(file: Path) -> None:
    """Remove a file unless somebody writes it.

    Raises:
        OSError: Somebody does, or the disk refuses.
    """
    # For writing, since file systems of networks lock no other files for one alone.
    descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()  # while it is locked: whoever has just made it sees that it is gone
    finally:
        os.close(descriptor)
