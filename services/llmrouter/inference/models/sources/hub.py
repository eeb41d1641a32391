"""A checkpoint on a Hugging Face hub, fetched by its own client into its own cache.

`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` and what `hf auth login` wrote count, as the
client documents them. What arrives is compared with what the hub lists of the commit: sha256 of
large files, git's id of small ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from huggingface_hub import try_to_load_from_cache

from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.checksum import file_sha256, folder_sha256
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import LARGEST_BYTES, Fetched, refusal
from llmrouter.inference.models.sources.hub_client import HubClient
from llmrouter.inference.models.sources.hub_files import HubFile, choose_files, matches
from llmrouter.inference.models.store import disk_error

__all__ = ["HubSource"]


@dataclass(frozen=True, slots=True)
class HubSource:
    """One file of a repository, or one folder of it."""

    repository: str
    """`owner/name`."""
    file: str | None = None
    """Path of a file or folder inside of the repository; None takes its top folder."""
    revision: str | None = None
    """Branch, tag or commit; None takes the main branch."""
    sha256: str | None = None
    """Of `file`, where the caller knows it."""
    largest: int = LARGEST_BYTES
    """Bytes; a larger checkpoint is refused before it is fetched."""

    @property
    def place(self) -> str:
        """The source as it is written."""
        return _written(self.repository, self.revision, self.file)

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        """Fetch what the cache lacks, as `Source.fetched` says; the cache keeps it."""
        cached = self._cached()
        if cached is not None:
            yield cached
            return
        client = HubClient(self.repository, self.revision, self.place)
        commit, listed = client.list()
        files = choose_files(listed, self.file, self.place)
        self._check(files)
        paths = [
            _whole(client.download(one, _part(progress, at, files)), one, self.place)
            for at, one in enumerate(files)
        ]
        if len(files) == 1:
            place = _written(self.repository, commit, files[0].path)
            yield Fetched(paths[0], Origin(place, file_sha256(paths[0])))
            return
        with TemporaryDirectory(dir=downloads, ignore_cleanup_errors=True) as folder:
            _gather(paths, files, Path(folder))
            place = _written(self.repository, commit, self.file)
            yield Fetched(Path(folder), Origin(place, folder_sha256(Path(folder))))

    def _cached(self) -> Fetched | None:
        """Return a file whose checksum is known from the cache, without asking anybody."""
        if self.file is None or self.sha256 is None:
            return None
        path = try_to_load_from_cache(self.repository, self.file, revision=self.revision)
        if not isinstance(path, str) or file_sha256(Path(path)) != self.sha256:
            return None
        return Fetched(Path(path), Origin(self.place, self.sha256))

    def _check(self, files: Sequence[HubFile]) -> None:
        """Refuse what should not be fetched at all."""
        size = sum(one.size for one in files)
        if size > self.largest:
            raise refusal(self.place, f"has {size} bytes; at most {self.largest} are fetched")
        if self.sha256 is None:
            return
        if len(files) > 1:
            raise refusal(self.place, "is a folder; only a file has one sha256")
        if files[0].sha256 != self.sha256:
            found = files[0].sha256 or "none (it is a small file)"
            raise refusal(self.place, f"has sha256 {found}, expected {self.sha256}")


def _whole(path: Path, listed: HubFile, place: str) -> Path:
    """Return a file of the cache that is as the hub lists it; others leave the cache."""
    if matches(path, listed):
        return path
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    why = f"lists another checksum of {listed.path} than it hands out; nothing was kept"
    raise refusal(place, why)


def _gather(paths: Sequence[Path], files: Sequence[HubFile], folder: Path) -> None:
    """Put these files, and no links, into `folder`: the cache may hold others beside them."""
    for path, file in zip(paths, files, strict=True):
        target = folder / PurePosixPath(file.path).name
        try:
            target.hardlink_to(path.resolve())
        except OSError:  # another disk
            try:
                shutil.copyfile(path, target)
            except OSError as error:
                raise disk_error(error, folder) from error


def _part(progress: Progress, at: int, files: Sequence[HubFile]) -> Progress:
    """Return a progress for one of several files that tells how far all of them are."""
    before, everything = sum(one.size for one in files[:at]), sum(one.size for one in files)

    def tell(stage: str, done: int, total: int) -> None:
        progress(stage, before + done, everything)

    return tell


def _written(repository: str, revision: str | None, path: str | None) -> str:
    at = f"@{revision}" if revision else ""
    return f"hf://{repository}{at}" + (f"/{path}" if path else "")
