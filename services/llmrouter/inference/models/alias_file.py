"""Where the aliases of a store's models were moved to, kept beside the folders."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.inference.models.store import disk_error
from llmrouter.inference.models.untrusted_json import broken_file, read_object
from llmrouter.inference.models.versions import VersionKey

__all__ = ["ALIAS_FILE", "AliasFile"]

ALIAS_FILE = ".aliases.json"
_LOCK_FILE = ".aliases.lock"
_REMEDY = "remove the file, and move the aliases again"
_MOST = 10_000
_LOCK_SECONDS = 10.0
"""How long a move waits for those of other services of the same store; each takes milliseconds."""


class AliasFile:
    """Alias to label by model; every service of the store reads and moves them."""

    def __init__(self, store: Path) -> None:
        self._file = store / ALIAS_FILE

    def read(self) -> dict[str, dict[str, str]]:
        """Return where aliases were moved: by model, alias to label.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the place in the file that is wrong.
        """
        if not self._file.exists():
            return {}
        if not self._file.is_file():
            raise broken_file(self._file, "is not a file", _REMEDY)
        content = read_object(self._file, _REMEDY)
        if len(content.names) > _MOST:
            raise content.refuse("models", f"are {len(content.names)}, at most {_MOST}")
        moved = {}
        for model in content.names:
            aliases = content.child(model)
            moved[model] = {
                alias: aliases.text(alias, longest=64, empty=True) for alias in aliases.names
            }
        return moved

    def move(self, key: VersionKey, aliases: Sequence[str]) -> dict[str, dict[str, str]]:
        """Point aliases of a model to a version, and return where all are; other moves are kept.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk is full or refuses, or the file is wrong.
        """
        try:
            with self._alone():
                moved = self.read()
                moved.setdefault(key.name, {}).update(dict.fromkeys(aliases, key.label))
                self._write(moved)
        except OSError as error:
            raise disk_error(error, self._file) from error
        return moved

    def check_label(self, key: VersionKey) -> None:
        """Refuse a new version whose label is an alias: requests for that would be answered by it.

        Raises:
            RouterError: INVALID_ARGUMENT naming the alias and the remedy; MODEL_UNAVAILABLE as
                `read`.
        """
        store = self._file.parent
        if not key.label or (store / str(key)).is_dir():
            return
        label = self.read().get(key.name, {}).get(key.label)
        if label is None or not (store / (there := str(VersionKey(key.name, label)))).is_dir():
            return
        raise invalid(
            "name",
            f"'{key.label}' is an alias of {key.name} and points to {there}; take another label, "
            f"then `llmrouter models load {key.name}@LABEL --alias {key.label}`",
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other services of the store from moving aliases meanwhile."""
        lock = os.open(self._file.with_name(_LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            give_up = time.monotonic() + _LOCK_SECONDS
            while not _taken(lock):
                if time.monotonic() > give_up:
                    message = f"another service holds {_LOCK_FILE} of the store; no alias has moved"
                    raise RouterError(Reason.MODEL_UNAVAILABLE, message, retry_after=1.0)
                time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _write(self, moved: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the file at once."""
        handle, name = tempfile.mkstemp(prefix=f"{ALIAS_FILE}.", dir=self._file.parent)
        fresh = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(moved, stream, indent=2, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.chmod(0o644)
            fresh.replace(self._file)
        finally:
            fresh.unlink(missing_ok=True)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
