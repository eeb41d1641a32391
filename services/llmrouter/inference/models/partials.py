"""Models on their way into a store that outlive the process which makes them: it may be killed.

Each lies in `.partial-<source>-<name>`, the folder that becomes the model as `model`, and beside it
what tells how far it is. None stays for long: a model of another source clears those of this one,
an import that ends well clears all, and what nobody has touched for a week goes with the next.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from llmrouter.inference.models.locks import in_use, lock, locked

__all__ = ["PARTIAL", "Partial", "Partials", "inner_place"]

PARTIAL = ".partial-"
_FOLDER, _JOURNAL = "model", "journal"
_ANOTHER = "+"
"""No model's name has it: behind it is what tells apart those who make the same model at once."""
_SOURCE_DIGITS = 16
_STALE_SECONDS = 7 * 86_400


class Partial(NamedTuple):
    """A model that is being made."""

    folder: Path
    """What it is to consist of. Whatever an earlier try has left in it is to be checked."""
    journal: Path
    """A file beside the folder that tells what of it is whole; it may be missing."""


class Partials:
    """The unfinished models of the store at `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def opened(self, name: str, source: str) -> Iterator[Partial]:
        """Give the unfinished model `name` of `source`: what an earlier try has left, or nothing.

        What others have left is removed first. On leaving, or when the block raises an error, this
        goes too; being interrupted or killed leaves it. Whoever makes the same meanwhile gets
        another folder.

        Args:
            name: Of the model.
            source: Hex digits that stand for what it is made of.

        Raises:
            OSError: The disk refuses.
        """
        prefix = f"{PARTIAL}{source[:_SOURCE_DIGITS]}-"
        with locked(self._root):
            self._remove([one for one in self._all() if not one.name.startswith(prefix)])
            place, held = self._take(prefix + name)
        kept = True
        try:
            (place / _FOLDER).mkdir(exist_ok=True)
            yield Partial(place / _FOLDER, place / _JOURNAL)
            kept = False
        except Exception:
            kept = False
            raise
        finally:
            with locked(self._root):  # nobody may take it over while it goes
                if not kept:
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
                shutil.rmtree(one, ignore_errors=True)

    def _take(self, name: str) -> tuple[Path, int]:
        """Return a folder and the lock on it: the one of this name, unless another has it."""
        place = self._root / name
        place.mkdir(exist_ok=True)
        try:
            return place, lock(place)
        except BlockingIOError:
            other = Path(tempfile.mkdtemp(prefix=f"{name}{_ANOTHER}", dir=self._root))
            return other, lock(other)


def inner_place(parts: list[str]) -> list[str]:
    """Return the path in the model of a path in the folder of a partial one."""
    return parts[1:] if parts[:1] == [_FOLDER] else parts


def _touched(place: Path) -> float:
    """Return when something of it was last written, in seconds since 1970."""
    files = (place, place / _JOURNAL, place / _FOLDER)
    return max((one.stat().st_mtime for one in files if one.exists()), default=0.0)
