"""The directory that keeps model folders: each appears whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.kinds import StoredModel, kind_of
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.versions import is_key, parse_key

__all__ = ["ModelStore", "check_name", "disk_error"]

_STAGING = ".importing-"
_REPLACED = ".replaced-"
_DOWNLOADS = ".downloads"


def check_name(name: str) -> str:
    """Return `name` if it can name a model or, with a label behind an `@`, a version of one.

    Raises:
        RouterError: INVALID_ARGUMENT for anything but lower-case letters, digits and `._-`.
    """
    return str(parse_key(name))


def disk_error(error: OSError, place: Path) -> RouterError:
    """Return the error for a failed write at `place`; a full disk is named as such."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"the disk of {place} is full; free some space and repeat, nothing was installed"
    elif error.errno == errno.EFBIG:
        text = f"a file in {place} would be larger than this process may write; see `ulimit -f`"
    else:
        text = f"{place} cannot be written ({error.strerror or error}); check its permissions"
    return RouterError(Reason.MODEL_UNAVAILABLE, text)


class ModelStore:
    """Model folders by name below one directory, which is made when first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def downloads(self) -> Path:
        """Where unfinished downloads wait for the next try."""
        return self.root / _DOWNLOADS

    def names(self) -> list[str]:
        """Return the models in the store, sorted; unfinished ones are not among them."""
        if not self.root.is_dir():
            return []
        return sorted(
            path.name
            for path in self.root.iterdir()
            if is_key(path.name) and kind_of(path) is not None
        )

    def path(self, name: str) -> Path:
        """Return where the model `name` lies or would lie."""
        return self.root / check_name(name)

    def folder(self, name: str) -> ModelFolder:
        """Read the model `name`, which generates on the compiled engine.

        Raises:
            RouterError: UNKNOWN_MODEL naming the models there are; MODEL_UNAVAILABLE as
                `read_folder`.
        """
        return read_folder(self._existing(name))

    def model(self, name: str) -> StoredModel:
        """Read the model `name`, of whatever kind.

        Raises:
            RouterError: UNKNOWN_MODEL naming the models there are; MODEL_UNAVAILABLE for what is
                wrong with its files.
        """
        return read_model(self._existing(name))

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_dir():
            there = ", ".join(self.names()) or "none"
            raise RouterError(
                Reason.UNKNOWN_MODEL, f"{name} is not in {self.root}; there are: {there}"
            )
        return path

    def remove(self, name: str) -> None:
        """Delete the model `name`; it vanishes at once, its bytes a little later.

        Raises:
            RouterError: UNKNOWN_MODEL, or MODEL_UNAVAILABLE when the disk refuses.
        """
        path = self.path(name)
        if not path.is_dir():
            raise RouterError(Reason.UNKNOWN_MODEL, f"{name} is not in {self.root}")
        try:
            self._set_aside(name)
        except OSError as error:
            raise disk_error(error, path) from error

    @contextmanager
    def installing(self, name: str) -> Iterator[Path]:
        """Give an empty folder to fill; on leaving it becomes the model `name`.

        The folder lies beside the others, is flushed to the disk and then renamed. When the block
        raises, or the process dies, nothing but a hidden leftover remains, which the next
        installation removes.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk is full or refuses.
        """
        target = self.path(name)
        staging, lock = self._stage(name)
        try:
            yield staging
            staging.chmod(0o755)
            _flush(staging)
            self._publish(staging, target)
        except OSError as error:
            raise disk_error(error, self.root) from error
        finally:
            os.close(lock)
            shutil.rmtree(staging, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a hidden folder on the store's disk that is gone afterwards.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk is full or refuses.
        """
        folder, lock = self._stage("scratch")
        try:
            yield folder
        except OSError as error:
            raise disk_error(error, self.root) from error
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def downloading(self) -> Iterator[Path]:
        """Give the folder of downloads to one process at a time; others wait for it.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk refuses.
        """
        try:
            self.downloads.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.downloads) from error
        with _locked(self.downloads):
            yield self.downloads

    def staged(self, file: Path) -> Path | None:
        """Return where in its hidden folder `file` lies; None where it is in none."""
        if not file.is_relative_to(self.root):
            return None
        hidden, *inner = file.relative_to(self.root).parts or [""]
        return Path(*inner) if hidden.startswith(_STAGING) else None

    def recover(self) -> None:
        """Remove what broken installations left; put back what one was about to replace.

        A store that is not there, or may not be written to, is left as it is.
        """
        with suppress(OSError), _locked(self.root):
            self._recover()

    def _recover(self) -> None:
        """Recover while the store's lock is held: without it, a replacement may be under way."""
        for path in self.root.glob(f"{_STAGING}*"):
            if not _in_use(path):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(f"{_REPLACED}*"):
            inner = next(path.iterdir(), None)
            if inner is not None and not (self.root / inner.name).exists():
                inner.rename(self.root / inner.name)
            shutil.rmtree(path, ignore_errors=True)

    def _stage(self, name: str) -> tuple[Path, int]:
        """Make a hidden folder and hold its lock."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with _locked(self.root):  # nobody may take the new folder for a leftover
                self._recover()
                folder = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{name}-", dir=self.root))
                return folder, _lock(folder)
        except OSError as error:
            raise disk_error(error, self.root) from error

    def _publish(self, staging: Path, target: Path) -> None:
        with _locked(self.root):  # nobody may put back what is moved aside
            aside = self._move_aside(target) if target.exists() else None
            staging.rename(target)
            _flush_directory(self.root)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)

    def _set_aside(self, name: str) -> None:
        """Hide the model in a staging name first: a leftover of it is never put back."""
        grave = Path(tempfile.mkdtemp(prefix=f"{_STAGING}gone-", dir=self.root))
        self.path(name).rename(grave / name)
        _flush_directory(self.root)
        shutil.rmtree(grave, ignore_errors=True)

    def _move_aside(self, target: Path) -> Path:
        aside = Path(tempfile.mkdtemp(prefix=_REPLACED, dir=self.root))
        target.rename(aside / target.name)
        return aside


def _lock(folder: Path) -> int:
    """Hold a lock on `folder` for as long as the returned descriptor is open."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until this process alone holds the lock on `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _in_use(folder: Path) -> bool:
    try:
        os.close(_lock(folder))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _flush(folder: Path) -> None:
    """Write all files of `folder` through to the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    _flush_directory(folder)


def _flush_directory(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot flush directories
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
