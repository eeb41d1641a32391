"""The versions that lie in a store, and the names that lead to them."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.alias_file import AliasFile
from llmrouter.inference.models.held import HeldModel
from llmrouter.inference.models.kinds import kind_of
from llmrouter.inference.models.residency import ModelState
from llmrouter.inference.models.versions import (
    STABLE,
    VersionKey,
    aliases_of,
    check_alias,
    find_version,
    is_key,
    key_of,
)

__all__ = ["Shelf"]


class Shelf:
    """One `HeldModel` for each folder of a store, and those that were replaced and are not gone.

    Args:
        store: The folder that holds model folders.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._models: dict[VersionKey, HeldModel] = {}
        self._replaced: set[HeldModel] = set()
        self._alias_file = AliasFile(store)
        self._moved: dict[str, dict[str, str]] = {}
        self._moving = asyncio.Lock()

    @property
    def models(self) -> list[HeldModel]:
        """Every version, in order of their names; those that were replaced come last."""
        replaced = sorted(self._replaced, key=lambda one: one.key)
        return [*(self._models[key] for key in sorted(self._models)), *replaced]

    def names_in_store(self) -> list[str]:
        """Return the names of every model folder in the store."""
        if not self._store.is_dir():
            return []
        found = (path for path in self._store.iterdir() if is_key(path.name))
        return sorted(path.name for path in found if kind_of(path) is not None)

    def serves(self, model: HeldModel) -> bool:
        """Whether names lead to a model, rather than to what it was replaced by."""
        return self._models.get(model.key) is model

    def aliases(self, name: str) -> dict[str, VersionKey]:
        """Return where the aliases of a model point."""
        versions = [one.version for one in self._named(name)]
        return aliases_of(versions, self._moved.get(name, {}))

    async def read_aliases(self) -> bool:
        """Take in where aliases were moved to, by earlier processes and other services.

        Returns:
            Whether that was news.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming what is wrong with their file.
        """
        async with self._moving:
            before, self._moved = self._moved, await asyncio.to_thread(self._alias_file.read)
            return self._moved != before

    def check_aliases(self, name: str, aliases: Iterable[str]) -> None:
        """Refuse what cannot be an alias of the model `name`.

        Raises:
            RouterError: INVALID_ARGUMENT naming it.
        """
        versions = [one.version for one in self._named(name)]
        for alias in aliases:
            check_alias(alias, versions)

    async def move_aliases(self, key: VersionKey, aliases: Sequence[str]) -> None:
        """Point `aliases` of its model to a version, now and after a restart.

        Raises:
            RouterError: MODEL_UNAVAILABLE when the disk refuses; nothing has moved then.
        """
        if not aliases:
            return
        async with self._moving:  # what was read first is not to be kept last
            self._moved = await asyncio.to_thread(self._alias_file.move, key, aliases)

    def find(self, name: str, version: str) -> HeldModel:
        """Return the version of a model that a request means.

        Raises:
            RouterError: UNKNOWN_MODEL naming the models, or the versions, that there are.
        """
        among = sorted(self._named(name), key=lambda one: not one.accepting)
        if not among:
            known = ", ".join(sorted({key.name for key in self._models})) or "none"
            raise _unknown(f"model '{name}' is not held here; held are {known}")
        versions = [one.version for one in among]
        key = find_version(versions, self.aliases(name), version)
        if key is not None:
            return self._models[key]
        for model in self._replaced:
            # Known by its fingerprint alone.
            if model.key.name == name and model.version.fingerprint == version:
                return model
        held = ", ".join(f"{one.key.label or 'unlabelled'} {one.fingerprint}" for one in versions)
        raise _unknown(f"model '{name}' has no version {version}; it has {held}")

    def at(self, key: VersionKey) -> HeldModel:
        """Return the version in a folder.

        Raises:
            RouterError: UNKNOWN_MODEL when the folder is gone.
        """
        if key not in self._models:
            raise _unknown(f"'{key}' is not in the store any more")
        return self._models[key]

    def offered(self, names: Sequence[str] | None) -> tuple[list[HeldModel], list[HeldModel]]:
        """Return the versions that `names` stand for, and those of them to load first.

        Args:
            names: Models, each of which stands for all of its versions, of which the `stable` one
                comes first; or single versions. None stands for everything.
        """
        offered, first = [], []
        for name in sorted({key.name for key in self._models}) if names is None else names:
            versions = [one for one in self._models if one.name == name]
            offered += versions or [key_of(name)]
            first.append(self.aliases(name)[STABLE] if versions else key_of(name))
        return self._those(offered), self._those(first)

    async def scan(self, wanted: Sequence[str] = (), busy: Container[HeldModel] = ()) -> None:
        """Take in the folders that came into the store or changed, and forget those that are gone.

        Args:
            wanted: Folders that are taken in even where they are no models, to be told as broken.
            busy: Models that are being loaded. A folder that is replaced is away for a moment:
                their load finds it, or fails.
        """
        known = [*map(str, self._models), *wanted]
        there = await asyncio.to_thread(self._folders, known)
        for key, (path, installed) in there.items():
            model = self._models.setdefault(key, HeldModel(key, path, installed))
            changed, model.installed = model.installed != installed, installed
            if changed or model.stale:
                model.forget()
        for key in set(self._models) - set(there):
            model = self._models[key]
            loads = model in busy or model.state is ModelState.LOADING
            if model.opened is None and not loads:
                del self._models[key]

    def replace(self, model: HeldModel, fresh: HeldModel) -> None:
        """Let names lead to `fresh`; `model` is known by its fingerprint until it is dropped."""
        self._models[model.key] = fresh
        self._replaced.add(model)

    def drop(self, model: HeldModel) -> None:
        """Forget a model that was replaced."""
        self._replaced.discard(model)

    def _named(self, name: str) -> list[HeldModel]:
        return [self._models[key] for key in sorted(self._models) if key.name == name]

    def _folders(self, known: Sequence[str]) -> dict[VersionKey, tuple[Path, float]]:
        """Return path and time of each model folder, and of those known that are folders still."""
        names = {*self.names_in_store(), *(one for one in known if (self._store / one).is_dir())}
        found = {}
        for path in (self._store / name for name in names):
            with suppress(FileNotFoundError):  # removed or replaced this moment
                found[key_of(path.name)] = path, path.stat().st_mtime
        return found

    def _those(self, keys: Sequence[VersionKey]) -> list[HeldModel]:
        return [self._models[key] for key in dict.fromkeys(keys) if key in self._models]


def _unknown(message: str) -> RouterError:
    return RouterError(Reason.UNKNOWN_MODEL, message)
