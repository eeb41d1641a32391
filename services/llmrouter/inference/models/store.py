"""The directory that keeps model folders: each appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.kinds import StoredModel, kind_of
from llmrouter.inference.models.locks import in_use, lock, locked
from llmrouter.inference.models.partials import PARTIAL, Partial, Partials, inner_place
from llmrouter.inference.models.progress import Tell, unheard
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
        self._partials = Partials(root)

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
        return read_folder(self.existing(name))

    def model(self, name: str) -> StoredModel:
        """Read the model `name`, of whatever kind.

        Raises:
            RouterError: UNKNOWN_MODEL naming the models there are; MODEL_UNAVAILABLE for what is
                wrong with its files.
        """
        return read_model(self.existing(name))

    def existing(self, name: str) -> Path:
        """Return where the model `name` lies.

        Raises:
            RouterError: UNKNOWN_MODEL naming the models there are.
        """
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
            RouterError: UNKNOWN_MODEL naming the models there are, or MODEL_UNAVAILABLE when the
                disk refuses.
        """
        path = self.existing(name)
        try:
            grave = self._set_aside(name)
        except OSError as error:
            raise disk_error(error, path) from error
        shutil.rmtree(grave, ignore_errors=True)

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
        staging, held = self._stage(name)
        try:
            yield staging
            staging.chmod(0o755)
            _flush(staging)
            self._publish(staging, target)
        except OSError as error:
            raise disk_error(error, self.root) from error
        finally:
            os.close(held)
            shutil.rmtree(staging, ignore_errors=True)

    @contextmanager
    def resuming(
        self, name: str, source: str, kept: str, *, install: bool = True
    ) -> Iterator[Partial]:
        """Give a folder to fill, as `installing`, which being killed or interrupted leaves.

        The next one of the same name and source gets one file of it as it was left, to go on with
        what is whole; see `Partials` for how long it may stay.

        Args:
            name: Of the model.
            source: Hex digits that stand for what it is made of.
            kept: The file that is given again; all else is removed.
            install: Whether it becomes a model on leaving; otherwise it is gone then.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk is full or refuses.
        """
        target = self.path(name)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.recover()
            with self._partials.opened(name, source, kept) as partial:
                yield partial
                if install:
                    partial.folder.chmod(0o755)
                    _flush(partial.folder)
                    self._publish(partial.folder, target)
        except OSError as error:
            raise disk_error(error, self.root) from error

    def clear_partials(self) -> None:
        """Remove unfinished models that nobody works on."""
        with suppress(OSError):
            self._partials.clear()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a hidden folder on the store's disk that is gone afterwards.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk is full or refuses.
        """
        folder, held = self._stage("scratch")
        try:
            yield folder
        except OSError as error:
            raise disk_error(error, self.root) from error
        finally:
            os.close(held)
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def downloading(self, tell: Tell = unheard) -> Iterator[Path]:
        """Give the folder of downloads to one process at a time; others wait for it.

        Args:
            tell: Told that this one has to wait.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk refuses.
        """
        try:
            self.downloads.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.downloads) from error
        waiting = f"another pull or import is under way in {self.root}; waiting until it ends"
        with locked(self.downloads, lambda: tell(waiting)):
            yield self.downloads

    def staged(self, file: Path) -> Path | None:
        """Return where in its hidden folder `file` lies; None where it is in none."""
        if not file.is_relative_to(self.root):
            return None
        hidden, *inner = file.relative_to(self.root).parts or [""]
        if hidden.startswith(PARTIAL):
            return Path(*inner_place(inner))
        return Path(*inner) if hidden.startswith(_STAGING) else None

    def recover(self) -> None:
        """Remove what broken installations left; put back what one was about to replace.

        A store that is not there, or may not be written to, is left as it is.
        """
        with suppress(OSError), locked(self.root):
            self._recover()

    def _recover(self) -> None:
        """Recover while the store's lock is held: without it, a replacement may be under way."""
        for path in self.root.glob(f"{_STAGING}*"):
            if not in_use(path):
                shutil.rmtree(path, ignore_errors=True)
        self._partials.clear_stale()
        for path in self.root.glob(f"{_REPLACED}*"):
            inner = next(path.iterdir(), None)
            if inner is not None and not (self.root / inner.name).exists():
                inner.rename(self.root / inner.name)
            shutil.rmtree(path, ignore_errors=True)

    def _stage(self, name: str) -> tuple[Path, int]:
        """Make a hidden folder and hold its lock."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root):  # nobody may take the new folder for a leftover
                self._recover()
                folder = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{name}-", dir=self.root))
                return folder, lock(folder)
        except OSError as error:
            raise disk_error(error, self.root) from error

    def _publish(self, staging: Path, target: Path) -> None:
        with locked(self.root):  # nobody may put back what is moved aside
            aside = self._move_aside(target) if target.exists() else None
            staging.rename(target)
            _flush_directory(self.root)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)

    def _set_aside(self, name: str) -> Path:
        """Hide the model in a staging name first: a leftover of it is never put back."""
        with locked(self.root):  # an import may be about to replace it, or clear the new folder
            path = self.existing(name)
            grave = Path(tempfile.mkdtemp(prefix=f"{_STAGING}gone-", dir=self.root))
            path.rename(grave / name)
            _flush_directory(self.root)
        return grave

    def _move_aside(self, target: Path) -> Path:
        aside = Path(tempfile.mkdtemp(prefix=_REPLACED, dir=self.root))
        target.rename(aside / target.name)
        return aside


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
