"""The models of one inference service: loaded at start, found by name and version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path

import structlog

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import Backend, BackendOptions
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.text import ModelText, load_text

__all__ = ["HeldModel", "LoadState", "ModelRegistry", "find_backend"]

_log = structlog.get_logger("llmrouter.models")


class LoadState(StrEnum):
    """Where a model is in its life."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True)
class HeldModel:
    """One model this service was told to hold."""

    name: str
    state: LoadState = LoadState.LOADING
    error: str = ""
    folder: ModelFolder | None = None
    text: ModelText | None = None
    backend: Backend | None = None


def find_backend(name: str) -> type[Backend]:
    """Return the backend registered under `name`.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the backends that are registered.
    """
    found = {point.name: point for point in entry_points(group="llmrouter.backends")}
    if name not in found:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"inference.backend is '{name}'; registered are {', '.join(sorted(found))}",
        )
    backend: type[Backend] = found[name].load()
    return backend


class ModelRegistry:
    """Loads models one after another and hands them out.

    Args:
        store: The folder that holds model folders.
        backend: The class that runs them.
        options: How they are run.
    """

    def __init__(self, store: Path, backend: type[Backend], options: BackendOptions) -> None:
        self._store, self._backend, self._options = store, backend, options
        self._models: dict[str, HeldModel] = {}

    @property
    def models(self) -> list[HeldModel]:
        """Every model told of, in order of their names."""
        return [self._models[name] for name in sorted(self._models)]

    def names_in_store(self) -> list[str]:
        """Return the names of every model folder in the store."""
        if not self._store.is_dir():
            return []
        found = (path for path in self._store.iterdir() if not path.name.startswith("."))
        return sorted(path.name for path in found if (path / "genai_config.json").is_file())

    async def load(self, names: Sequence[str]) -> None:
        """Load `names` in order; one that cannot be loaded is kept as FAILED with its reason."""
        for name in names:
            self._models[name] = HeldModel(name)
        for name in names:
            await self._load_one(self._models[name])

    def get(self, name: str, version: str) -> tuple[ModelFolder, ModelText, Backend]:
        """Return a model that is ready to serve.

        Raises:
            RouterError: UNKNOWN_MODEL, or MODEL_UNAVAILABLE while it loads or because it failed.
        """
        held = self._models.get(name)
        if held is None:
            known = ", ".join(sorted(self._models)) or "none"
            raise RouterError(
                Reason.UNKNOWN_MODEL, f"model '{name}' is not held here; held are {known}"
            )
        if held.folder is None or held.text is None or held.backend is None:
            what = held.error or f"model '{name}' is still loading"
            raise RouterError(Reason.MODEL_UNAVAILABLE, what, retry_after=1.0)
        if version and version != held.folder.version:
            raise RouterError(
                Reason.UNKNOWN_MODEL,
                f"model '{name}' is held at version {held.folder.version}, not {version}",
            )
        return held.folder, held.text, held.backend

    async def close(self) -> None:
        """Close every backend."""
        for held in self._models.values():
            if held.backend is not None:
                await held.backend.close()

    async def _load_one(self, held: HeldModel) -> None:
        path = self._store / held.name
        try:
            folder = await asyncio.to_thread(read_folder, path)
            held.text = await asyncio.to_thread(load_text, folder)
            held.backend = await self._backend.load(path, self._options)
            held.folder = folder
            held.state = LoadState.READY
            _log.info("model loaded", model=held.name, version=folder.version)
        except RouterError as error:
            held.state, held.error = LoadState.FAILED, error.message
            _log.error("model failed to load", model=held.name, error=error.message)
        except Exception as error:  # noqa: BLE001 - an untrusted folder fails alone
            held.state = LoadState.FAILED
            held.error = f"the folder cannot be read ({type(error).__name__}); import it again"
            _log.exception("model failed to load", model=held.name)
