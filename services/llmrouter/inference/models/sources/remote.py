"""A checkpoint behind a URL, whose checksum the caller must know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import Fetched
from llmrouter.inference.models.sources.download import Download, Remote, fetch

__all__ = ["RemoteSource"]


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """One file that is downloaded."""

    remote: Remote
    sha256: str

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        """Download the file, as `Source.fetched` says."""
        # Named by what is in it: a part of another file is never gone on with.
        suffix = PurePosixPath(self.remote.place).suffix[:16]
        target = downloads / f"{self.sha256[:32]}{suffix}"
        fetch(Download(self.remote, self.sha256), target, progress)
        yield Fetched(target, Origin(self.remote.place, self.sha256))
        target.unlink(missing_ok=True)
