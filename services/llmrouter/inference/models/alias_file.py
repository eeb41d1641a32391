"""Where the aliases of a store's models were moved to, kept beside the folders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from llmrouter.inference.models.store import disk_error
from llmrouter.inference.models.untrusted_json import read_object

__all__ = ["ALIAS_FILE", "AliasFile"]

ALIAS_FILE = ".aliases.json"
_REMEDY = "remove the file, and move the aliases again"
_MOST = 10_000


class AliasFile:
    """Alias to label by model; one process writes it, the inference service of the store."""

    def __init__(self, store: Path) -> None:
        self._file = store / ALIAS_FILE

    def read(self) -> dict[str, dict[str, str]]:
        """Return where aliases were moved: by model, alias to label.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the place in the file that is wrong.
        """
        if not self._file.exists():
            return {}
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

    def write(self, moved: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the file at once.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk is full or refuses.
        """
        fresh = self._file.with_name(f"{ALIAS_FILE}.new")
        try:
            with fresh.open("w", encoding="utf-8") as stream:
                json.dump(moved, stream, indent=2, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self._file)
        except OSError as error:
            raise disk_error(error, self._file) from error
