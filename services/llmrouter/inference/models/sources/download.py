"""Downloads one file: resumed after a break, checked against its sha256, whole or not at all.

Bytes arrive in `<file>.part`, which stays when the connection breaks so that the next try goes
on from there. It is removed when the checksum is wrong or the disk is full.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import LARGEST_BYTES, SourceUnreachableError
from llmrouter.inference.models.store import disk_error

__all__ = ["Answer", "BrokenOffError", "Download", "Remote", "fetch", "refusal"]

_CHUNK = 1024 * 1024
_ATTEMPTS = 5


class BrokenOffError(Exception):
    """The connection failed or broke; trying again may help."""


class Answer(Protocol):
    """The bytes of a file from some place on."""

    @property
    def start(self) -> int:
        """Place of the first byte: the one asked for, or 0 where the other side cannot resume."""
        ...

    @property
    def total(self) -> int:
        """Bytes of the whole file; 0 where it is not told."""
        ...

    def read(self, most: int) -> bytes:
        """Return up to `most` bytes, none at the end.

        Raises:
            BrokenOffError: The connection broke.
        """
        ...


class Remote(Protocol):
    """One file far away."""

    @property
    def place(self) -> str:
        """Where it lies, for people: without query or credentials."""
        ...

    def open(self, start: int) -> AbstractContextManager[Answer]:
        """Ask for the bytes from `start` on.

        Raises:
            BrokenOffError: Nobody answers, or is too busy to.
            RouterError: MODEL_UNAVAILABLE for a refusal, which is final.
        """
        ...


@dataclass(frozen=True, slots=True)
class Download:
    """What to fetch, and how patiently."""

    remote: Remote
    sha256: str
    """64 lower-case hex digits."""
    largest: int = LARGEST_BYTES
    """Bytes; a longer answer is refused."""
    attempts: int = _ATTEMPTS
    """Tries without a single new byte before giving up."""
    pause: Callable[[float], None] = time.sleep
    """Waits the given seconds between tries."""


def fetch(download: Download, target: Path, progress: Progress) -> Path:
    """Fetch a file to `target` and return it; one that is there already is only checked.

    Raises:
        SourceUnreachableError: Nobody answers, or the connection breaks again and again.
        RouterError: MODEL_UNAVAILABLE naming the place and the cause: wrong checksum, too large,
            disk full (nothing is kept).
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and file_sha256(target) == download.sha256:
            return target
        _fill(download, part, progress)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise disk_error(error, target.parent) from error
    found = file_sha256(part)
    if found != download.sha256:
        part.unlink()
        raise refusal(
            download.remote,
            f"its sha256 is {found}, expected {download.sha256}; nothing was kept. Somebody "
            "changed the file or the index: do not use it",
        )
    part.replace(target)
    return target


def refusal(remote: Remote, why: str) -> RouterError:
    """Return the error for a file that cannot be had from its place."""
    return RouterError(Reason.MODEL_UNAVAILABLE, f"cannot fetch {remote.place}: {why}")


def _fill(download: Download, part: Path, progress: Progress) -> None:
    """Append to `part` until the other side says that it is whole; OSErrors are the disk's."""
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            with download.remote.open(before) as answer:
                return _receive(download, answer, part, progress)
        except BrokenOffError as error:
            grown = part.exists() and part.stat().st_size > before
            fruitless = 0 if grown else fruitless + 1
            if fruitless >= download.attempts:
                raise SourceUnreachableError(_given_up(download, part, error)) from error
            download.pause(min(2.0**fruitless / 2, 8.0))


def _given_up(download: Download, part: Path, error: BrokenOffError) -> str:
    told = f"cannot fetch {download.remote.place}: {error}"
    if not part.exists():
        return told
    return f"{told}; what has arrived is kept in {part.name} and the next try goes on from there"


def _receive(download: Download, answer: Answer, part: Path, progress: Progress) -> None:
    """Write an answer to `part`, from its start unless the other side resumed."""
    have = answer.start
    with part.open("ab" if have else "wb") as file:
        while chunk := answer.read(_CHUNK):
            have += len(chunk)
            if have > download.largest:
                part.unlink(missing_ok=True)
                why = f"it is larger than {download.largest} bytes; nothing was kept"
                raise refusal(download.remote, why)
            file.write(chunk)
            progress("download", have, answer.total)
        os.fsync(file.fileno())
    if have < answer.total:
        raise BrokenOffError(f"the connection ended after {have} of {answer.total} bytes")
