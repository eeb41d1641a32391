"""A checkpoint that lies on this machine already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.checksum import file_sha256, folder_sha256
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import Fetched

__all__ = ["LocalSource"]


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file or a folder; it is read, never moved or removed."""

    path: Path
    sha256: str | None = None
    """Of a file, where the caller knows it."""

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        """Hand out the path, its checksum compared, as `Source.fetched` says."""
        yield Fetched(self.path, Origin(self.path.resolve().name, self._checksum()))

    def _checksum(self) -> str:
        if self.path.is_dir():
            if self.sha256 is not None:
                raise invalid("sha256", f"{self.path} is a folder; only a file has one checksum")
            return folder_sha256(self.path)
        if not self.path.exists():
            raise invalid("source", f"{self.path} does not exist; check the path")
        if not self.path.is_file():
            told = f"{self.path} is neither a file nor a folder; save what comes of it to a file"
            raise invalid("source", told)
        found = file_sha256(self.path)
        if self.sha256 not in (None, found):
            raise RouterError(
                Reason.MODEL_UNAVAILABLE,
                f"{self.path} has sha256 {found}, expected {self.sha256}; nothing was imported",
            )
        return found
