"""Which tensors of a file that is being written are whole: a kill need not undo them.

A line of JSON tells what the file is made of, and one for each tensor where it lies and its
SHA-256. Whoever goes on compares every byte first. That guards against kills and damage, not
against whoever may write in the store: they can change file and journal together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from llmrouter.inference.models.partials import open_unlinked

__all__ = ["Journal", "Written"]

_FORMAT = 1
_MAX_BYTES = 64 << 20
"""Of a journal; one of a thousand layers has less than a MiB."""
_CHUNK = 1 << 20


class Written(NamedTuple):
    """A tensor that was written to its end."""

    name: str
    offset: int
    length: int
    sha256: str
    """Of its bytes and of the zeros between the one before and itself."""

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length


class Journal:
    """The tensors of one file, in the order in which they lie there.

    Args:
        path: Where it is kept.
        made_of: Everything that the bytes of the file depend on. What was noted for anything else
            counts for nothing.
        on_whole: Told how many bytes are gone on behind, where there are any.
    """

    def __init__(
        self,
        path: Path,
        made_of: Mapping[str, str],
        on_whole: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._path, self._on_whole = path, on_whole
        self._head = {"format": str(_FORMAT), **made_of}

    def whole(self, data: Path) -> list[Written]:
        """Return the tensors of the file `data` if each is as it was noted, else none.

        Reads the file once, a MiB at a time. What follows is noted behind those, and where
        something did not fit from the beginning.

        Raises:
            OSError: The disk refuses.
        """
        found = self._read()
        if not _all_as_noted(data, found):
            found = []
        with open_unlinked(self._path, "wb") as stream:
            stream.write(_line(self._head))
            stream.writelines(_line(one._asdict()) for one in found)
        if found:
            self._on_whole(found[-1].end)
        return found

    def note(self, tensor: Written) -> None:
        """Add a tensor, whose bytes the system has by now.

        Raises:
            OSError: The disk refuses.
        """
        with open_unlinked(self._path, "ab") as stream:
            stream.write(_line(tensor._asdict()))

    def _read(self) -> list[Written]:
        """Return what was noted of the same file; nothing where a line makes no sense."""
        try:
            with open_unlinked(self._path, "rb") as stream:
                content = stream.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES:
                return []
            text = content.decode("utf-8")
            # A line that a kill has cut short has no end.
            lines = [json.loads(line) for line in text.split("\n")[:-1]]
            if not lines or lines[0] != self._head:
                return []
            return [_tensor(line) for line in lines[1:]]
        except (OSError, ValueError, TypeError, RecursionError):
            return []


def _line(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content) + "\n").encode()


def _tensor(line: object) -> Written:
    """Return what a line says.

    Raises:
        ValueError: It says something else.
    """
    if not isinstance(line, dict) or sorted(line) != sorted(Written._fields):
        raise ValueError("is no tensor")
    kinds = (str, int, int, str)
    found = Written(**line)
    if any(type(value) is not kind for value, kind in zip(found, kinds, strict=True)):
        raise ValueError("has values of other types")
    return found


def _all_as_noted(data: Path, tensors: list[Written]) -> bool:
    """Whether the tensors follow each other in the file, with the bytes that were noted."""
    at = 0
    try:
        with open_unlinked(data, "rb") as stream:
            for one in tensors:
                if one.offset < at or one.length < 0 or _sha256(stream, one.end - at) != one.sha256:
                    return False
                at = one.end
    except OSError:
        return False
    return True


def _sha256(stream: IO[bytes], length: int) -> str | None:
    """Return the checksum of the next bytes; None where there are fewer."""
    digest = hashlib.sha256()
    for start in range(0, length, _CHUNK):
        piece = stream.read(min(_CHUNK, length - start))
        if not piece:
            return None
        digest.update(piece)
    return digest.hexdigest()
