"""One archive: a tar whose first member says what the others are, and what they must hash to.

No name of a member ever becomes a path: parts are known by name, and go where the settings say.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from llmrouter.backup.parts import PART_NAMES

__all__ = ["BackupError", "Manifest", "Member", "Progress", "digest_of", "read_archive",
           "write_archive"]  # fmt: skip

_FORMAT = "llmrouter-backup"
_VERSION = 1
_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 1 << 20
_CHUNK = 1 << 20

Progress = Callable[[str, int, int], None]
"""Is told of a stage, what of it is done, and how much there is; 0 where that is not known."""


class BackupError(Exception):
    """A copy cannot be made, is not one, or cannot be put back; the message says why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A part in an archive."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself."""

    created: str
    """When, in UTC (ISO 8601)."""
    llmrouter: str
    """The version that made it."""
    parts: tuple[Member, ...]


def digest_of(file: IO[bytes], copy: IO[bytes] | None = None) -> tuple[int, str]:
    """Return how many bytes are left in a file, and their SHA-256; copied where that is wanted."""
    count, digest = 0, hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        count += len(chunk)
        if copy is not None:
            copy.write(chunk)
    return count, digest.hexdigest()


def write_archive(target: Path, snapshots: Sequence[tuple[str, Path]], told: Progress) -> Manifest:
    """Write snapshots into one archive, of its owner alone: whole, or not at all.

    Args:
        target: Where; what is there is replaced.
        snapshots: Parts by name, and the file of each; it is removed once it is in the archive.
        told: Hears how far it is.

    Raises:
        OSError: It cannot be written.
    """
    members = []
    for name, path in snapshots:
        with path.open("rb") as file:
            members.append(Member(name, *digest_of(file)))
    created = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(created, metadata.version("llmrouter"), tuple(members))
    head = json.dumps(
        {"format": _FORMAT, "version": _VERSION} | asdict(manifest), indent=1
    ).encode()
    with _replacing(target) as whole, tarfile.open(fileobj=whole, mode="w") as archive:
        archive.addfile(_entry(_MANIFEST, len(head)), io.BytesIO(head))
        for index, ((name, path), member) in enumerate(zip(snapshots, members, strict=True)):
            with path.open("rb") as file:
                archive.addfile(_entry(f"parts/{name}", member.bytes), file)
            path.unlink()
            told("archive", index + 1, len(members))
    return manifest


def read_archive(
    path: Path, told: Progress, keep: Callable[[str], IO[bytes] | None] = lambda _: None
) -> Manifest:
    """Read an archive to its end, and return what it says once all of it is as it says.

    Args:
        path: The archive.
        told: Hears how far it is.
        keep: Gives an open file for a part's bytes, by its name, which is closed here; None where
            they are not wanted. What was kept of an archive that is refused must not be used.

    Raises:
        BackupError: It is no archive of ours, of a later version, damaged or cut off.
        OSError: It cannot be read.
    """
    try:
        with closing(tarfile.open(path, mode="r:")) as archive:
            members = iter(archive)
            manifest = _manifest(archive, next(members, None), path)
            for index, member in enumerate(manifest.parts):
                _check(archive, next(members, None), member, keep(member.name))
                told("verify", index + 1, len(manifest.parts))
            if (extra := next(members, None)) is not None:
                raise BackupError(
                    f"{path} holds {extra.name!r}, of which its manifest says nothing"
                )
    except tarfile.TarError as error:
        raise BackupError(f"{path} is no backup of llmrouter, or is damaged: {error}") from None
    return manifest


def _entry(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mode = size, 0o600
    made.mtime = int(datetime.now(UTC).timestamp())
    return made


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the place of `target` once it is written."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)  # noqa: PTH105 - beside the names above
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _manifest(archive: tarfile.TarFile, first: tarfile.TarInfo | None, path: Path) -> Manifest:
    foreign = BackupError(f"{path} is no backup of llmrouter: it does not begin with {_MANIFEST}")
    if first is None or first.name != _MANIFEST or not first.isreg():
        raise foreign
    if first.size > _MAX_MANIFEST_BYTES or (file := archive.extractfile(first)) is None:
        raise foreign
    try:
        said = json.loads(file.read())
        if said["format"] != _FORMAT:
            raise foreign
        if said["version"] != _VERSION:
            raise BackupError(
                f"{path} is of version {said['version']!r}; this llmrouter reads version {_VERSION}"
            )
        parts = tuple(_member(one) for one in said["parts"])
        manifest = Manifest(str(said["created"]), str(said["llmrouter"]), parts)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BackupError(f"the manifest of {path} cannot be read: it is damaged") from None
    names = [one.name for one in manifest.parts]
    if len(set(names)) < len(names) or not set(names) <= set(PART_NAMES):
        unknown = sorted(set(names) - set(PART_NAMES))
        what = f"names {unknown[0]!r}, which is no part" if unknown else "names a part twice"
        raise BackupError(f"the manifest of {path} {what}")
    return manifest


def _member(said: dict[str, Any]) -> Member:
    size = said["bytes"]
    if type(size) is not int or size < 0:
        raise ValueError(size)
    return Member(str(said["name"]), size, str(said["sha256"]))


def _check(
    archive: tarfile.TarFile, found: tarfile.TarInfo | None, member: Member, kept: IO[bytes] | None
) -> None:
    """Read one part.

    Raises:
        BackupError: It is not the one that the manifest says.
    """
    with closing(kept) if kept is not None else closing(io.BytesIO()):
        if found is None:
            raise BackupError(f"the archive is cut off before the part {member.name!r}")
        if found.name != f"parts/{member.name}" or not found.isreg():
            raise BackupError(f"the archive holds {found.name!r} in place of {member.name!r}")
        file = archive.extractfile(found)
        assert file is not None  # noqa: S101 - a regular member has content
        if digest_of(file, kept) != (member.bytes, member.sha256):
            raise BackupError(f"the part {member.name!r} of the archive is not what was written")
