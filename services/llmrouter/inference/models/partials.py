"""Models on their way into a store that outlive the process which makes them: it may be killed.

Each lies in `.partial-<source>-<name>`, the folder that becomes the model as `model`, and beside it
what tells how far it is. None stays for long: a model of another source clears those of this one,
an import that ends well clears all, and what nobody has touched for a week goes with the next.

Its name is known beforehand, so others who may write in the store can be there first: nothing is
followed that is a link, and nothing taken over that is not this user's alone.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from llmrouter.inference.models.locks import in_use, lock, locked

__all__ = ["PARTIAL", "Partial", "Partials", "inner_place", "open_unlinked"]

PARTIAL = ".partial-"
_FOLDER, _JOURNAL = "model", "journal"
_ANOTHER = "+"
"""No model's name has it: behind it is what tells apart those who make the same model at once."""
_SOURCE_DIGITS = 16
_STALE_SECONDS = 7 * 86_400


class Partial(NamedTuple):
    """A model that is being made."""

    folder: Path
    """What it is to consist of. An earlier try may have left one file in it: to be checked."""
    journal: Path
    """A file beside the folder that tells what of it is whole; it may be missing."""
    alone: bool
    """Whether nobody else makes the same: their place is another then, and nothing is in this."""


class Partials:
    """The unfinished models of the store at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, name: str, source: str, kept: str) -> Iterator[Partial]:
        """Give the unfinished model `name` of `source`: what an earlier try has left, or nothing.

        What others have left is removed first, and all of the folder but the file `kept`. On
        leaving, or when the block raises an error, this goes too; being interrupted or killed
        leaves it. Whoever makes the same meanwhile gets another folder.

        Args:
            name: Of the model.
            source: Hex digits that stand for what it is made of.
            kept: The file in the folder that the journal tells of.

        Raises:
            OSError: The disk refuses.
        """
        prefix = f"{PARTIAL}{source[:_SOURCE_DIGITS]}-"
        with locked(self._root):
            self._remove([one for one in self._all() if not one.name.startswith(prefix)])
            place, held = self._take(prefix + name)
        stays = True
        try:
            os.fchmod(held, 0o700)  # nobody else may change it from here on
            folder = place / _FOLDER
            _clear(place, {_FOLDER: stat.S_ISDIR, _JOURNAL: stat.S_ISREG})
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
            _clear(folder, {kept: stat.S_ISREG})
            yield Partial(folder, place / _JOURNAL, alone=place.name == prefix + name)
            stays = False
        except Exception:
            stays = False
            raise
        finally:
            with locked(self._root):  # nobody may take it over while it goes
                if not stays:
                    shutil.rmtree(place, ignore_errors=True)
                os.close(held)

    def clear(self) -> None:
        """Remove all that nobody works on."""
        with locked(self._root):
            self._remove(self._all())

    def clear_stale(self) -> None:
        """Remove what nobody has touched for a week; the store's lock is held meanwhile."""
        before = time.time() - _STALE_SECONDS
        self._remove([one for one in self._all() if _touched(one) < before])

    def _all(self) -> list[Path]:
        return list(self._root.glob(f"{PARTIAL}*"))

    def _remove(self, partials: list[Path]) -> None:
        for one in partials:
            if not in_use(one):
                with suppress(OSError):
                    _discard(one)

    def _take(self, name: str) -> tuple[Path, int]:
        """Return a folder and the lock on it: the one of this name, unless another has it."""
        place = self._root / name
        with suppress(OSError):  # of others, who keep it from going: then there is another place
            if not stat.S_ISDIR(place.lstat().st_mode):
                place.unlink()
        with suppress(OSError):
            place.mkdir(exist_ok=True)
            held = lock(place)
            if os.fstat(held).st_uid == os.geteuid():
                return place, held
            os.close(held)
        other = Path(tempfile.mkdtemp(prefix=f"{name}{_ANOTHER}", dir=self._root))
        return other, lock(other)


def open_unlinked(file: Path, mode: Literal["rb", "r+b", "wb", "ab"]) -> BinaryIO:
    """Open a file of a partial model; one that is a link is refused.

    Raises:
        OSError: It is one, or the disk refuses.
    """
    return open(file, mode, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666))


def inner_place(parts: list[str]) -> list[str]:
    """Return the path in the model of a path in the folder of a partial one."""
    return parts[1:] if parts[:1] == [_FOLDER] else parts


def _touched(place: Path) -> float:
    """Return when something of it was last written, in seconds since 1970."""
    times = [0.0]
    for one in (place, place / _JOURNAL, place / _FOLDER):
        with suppress(OSError):
            times.append(one.lstat().st_mtime)
    return max(times)


def _clear(folder: Path, wanted: Mapping[str, Callable[[int], bool]]) -> None:
    """Remove all that is not wanted, is of another kind than told, or is somebody else's too."""
    for one in folder.iterdir():
        found = one.lstat()
        shared = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
        kind = wanted.get(one.name)
        fits = kind is not None and kind(found.st_mode) and found.st_uid == os.geteuid()
        if not fits or shared:
            _discard(one)


def _discard(one: Path) -> None:
    """Remove a folder with all that is in it, or whatever else it is; links are not followed."""
    if stat.S_ISDIR(one.lstat().st_mode):
        shutil.rmtree(one)
    else:
        one.unlink()
