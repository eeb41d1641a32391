"""Downloads one file: resumed after a break, checked against its sha256, whole or not at all.

Bytes arrive in `<file>.part`, which stays when the connection breaks so that the next try goes
on from there (HTTP Range, RFC 9110 section 14). It is removed when the checksum is wrong or the
disk is full.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.store import disk_error

__all__ = ["Download", "fetch"]

_CHUNK = 1024 * 1024
_ATTEMPTS = 5
_TIMEOUT = 30.0
_SCHEMES = ("https", "http", "file")
_BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
_RANGE_REFUSED = 416


@dataclass(frozen=True, slots=True)
class Download:
    """What to fetch, and how patiently."""

    url: str
    """https, http or file."""
    sha256: str
    """64 lower-case hex digits."""
    largest: int = 100 * 1024**3
    """Bytes; a longer answer is refused."""
    attempts: int = _ATTEMPTS
    """Tries without a single new byte before giving up."""
    pause: Callable[[float], None] = time.sleep
    """Waits the given seconds between tries."""


def fetch(download: Download, target: Path, progress: Progress) -> Path:
    """Fetch a file to `target` and return it; one that is there already is only checked.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the place and the cause: unreachable, wrong
            checksum (nothing is kept), disk full (nothing is kept).
    """
    if urlsplit(download.url).scheme not in _SCHEMES:
        raise _failed(download, "only https, http and file are fetched")
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
        raise _failed(
            download,
            f"its sha256 is {found}, expected {download.sha256}; nothing was kept. Somebody "
            "changed the file or the index: do not use it",
        )
    part.replace(target)
    return target


def _fill(download: Download, part: Path, progress: Progress) -> None:
    """Append to `part` until the server says that it is whole; OSErrors are the disk's."""
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            with _open(download, before) as answer:
                return _receive(download, answer, part, progress)
        except _InterruptedError as error:
            grown = part.exists() and part.stat().st_size > before
            fruitless = 0 if grown else fruitless + 1
            if fruitless >= download.attempts:
                raise _failed(
                    download,
                    f"{error}; what has arrived is kept in {part.name} and the next try goes on "
                    "from there",
                ) from error
            download.pause(min(2.0**fruitless / 2, 8.0))


class _InterruptedError(Exception):
    """The connection failed or broke; trying again may help."""


def _open(download: Download, start: int) -> Any:
    """Ask for the bytes from `start` on."""
    headers = {"User-Agent": "llmrouter", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(download.url, headers=headers)  # noqa: S310 - scheme checked
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - scheme checked
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED and start:
            return _Nothing()
        if error.code < 500 and error.code not in (408, 429):
            raise _failed(download, f"the server answers {error.code} {error.reason}") from error
        raise _InterruptedError(f"the server answers {error.code}") from error
    except _BROKEN as error:
        raise _InterruptedError(f"no connection ({error})") from error


class _Nothing:
    """Stands for an answer without further bytes: the part was complete already."""

    status = 206
    headers: dict[str, str] = {}  # noqa: RUF012 - never written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, _: int) -> bytes:
        return b""


def _receive(download: Download, answer: Any, part: Path, progress: Progress) -> None:
    """Write an answer to `part`, from its start unless the server resumed."""
    resumed = getattr(answer, "status", None) == http.client.PARTIAL_CONTENT
    have = part.stat().st_size if resumed and part.exists() else 0
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length and length.isdigit() else 0
    with part.open("ab" if resumed else "wb") as file:
        _copy(download, answer, _Place(file, have, total), progress)
        os.fsync(file.fileno())


@dataclass(slots=True)
class _Place:
    """A file being filled."""

    file: IO[bytes]
    have: int
    total: int


def _copy(download: Download, answer: Any, place: _Place, progress: Progress) -> None:
    while True:
        try:
            chunk = answer.read(_CHUNK)
        except _BROKEN as error:
            raise _InterruptedError(f"the connection broke ({error})") from error
        if not chunk:
            break
        place.have += len(chunk)
        if place.have > download.largest:
            Path(place.file.name).unlink(missing_ok=True)
            raise _failed(download, f"it is larger than {download.largest} bytes; nothing was kept")
        place.file.write(chunk)
        progress("download", place.have, place.total)
    if place.have < place.total:
        raise _InterruptedError(f"the connection ended after {place.have} of {place.total} bytes")


def _failed(download: Download, why: str) -> RouterError:
    place = urlsplit(download.url)
    return RouterError(
        Reason.MODEL_UNAVAILABLE, f"cannot fetch {place.hostname or ''}{place.path}: {why}"
    )
