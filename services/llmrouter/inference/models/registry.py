"""The models of one inference service: loaded at start, found by name and version."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import structlog

from llmrouter.common.capabilities import CHAT, COMPLETION, EMBEDDING
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.inference.backends.base import Backend, BackendOptions, Embedder
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.models.ctranslate2_folder import (
    CTranslate2Folder,
    read_ctranslate2_folder,
)
from llmrouter.inference.models.embedding_folder import EmbeddingFolder, read_embedding_folder
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.integrity import loaded_whole
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of
from llmrouter.inference.models.text import ModelText, load_text
from llmrouter.inference.models.tokenizer_facts import UNKNOWN_TOKENIZER, TokenizerFacts
from llmrouter.inference.text_pool import TextPool

__all__ = ["HeldModel", "LoadState", "ModelRegistry", "find_backend", "find_embedder"]

_log = structlog.get_logger("llmrouter.models")
_EMBEDDER = "onnxruntime"


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
    folder: StoredModel | None = None
    text: ModelText | None = None
    tokenizer: TokenizerFacts = UNKNOWN_TOKENIZER
    """Not known of embedding models."""
    backend: Backend | None = None
    """Set for a model that generates."""
    embedder: Embedder | None = None
    """Set for a model that turns texts into vectors."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What may be asked of it, by the names of `common/capabilities.py`."""
        if self.embedder is not None:
            return frozenset({EMBEDDING})
        if self.backend is None:
            return frozenset()
        chat = {CHAT} if self.text is not None and self.text.has_template else set()
        return frozenset({COMPLETION, *chat, *self.backend.honours})

    @property
    def engine(self) -> Backend | Embedder | None:
        """Whatever runs it."""
        return self.backend or self.embedder


def find_backend(name: str) -> type[Backend]:
    """Return the backend registered under `name`.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the backends that are registered.
    """
    backend: type[Backend] = _registered("llmrouter.backends", name)
    return backend


def find_embedder() -> type[Embedder]:
    """Return what runs embedding models.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it is not installed.
    """
    embedder: type[Embedder] = _registered("llmrouter.embedders", _EMBEDDER)
    return embedder


def _registered(group: str, name: str) -> Any:
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"'{name}' is not registered in {group}; registered: {known}"
        )
    try:
        return found[name].load()
    except ImportError as error:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"{name} cannot be used: {error}; install llmrouter with the extra that brings it",
        ) from error


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
        self.texts = TextPool(available_cores(), options.max_waiting)
        """Where prompts become tokens, for all models."""

    @property
    def models(self) -> list[HeldModel]:
        """Every model told of, in order of their names."""
        return [self._models[name] for name in sorted(self._models)]

    def names_in_store(self) -> list[str]:
        """Return the names of every model folder in the store."""
        if not self._store.is_dir():
            return []
        found = (path for path in self._store.iterdir() if not path.name.startswith("."))
        return sorted(path.name for path in found if kind_of(path) is not None)

    async def load(self, names: Sequence[str]) -> None:
        """Load `names` in order; one that cannot be loaded is kept as FAILED with its reason."""
        for name in names:
            self._models[name] = HeldModel(name)
        for name in names:
            await self._load_one(self._models[name])

    def get(self, name: str, version: str) -> tuple[StoredModel, ModelText, Backend]:
        """Return a model that is ready to generate.

        Raises:
            RouterError: UNKNOWN_MODEL, or MODEL_UNAVAILABLE while it loads or because it failed;
                INVALID_ARGUMENT when it is an embedding model.
        """
        held, folder = self._ready(name, version)
        if held.backend is None or held.text is None:
            raise invalid("model", f"'{name}' turns texts into vectors and does not generate")
        return folder, held.text, held.backend

    def get_embedder(self, name: str, version: str) -> tuple[StoredModel, Embedder]:
        """Return an embedding model that is ready.

        Raises:
            RouterError: As `get`; INVALID_ARGUMENT when it is a model that generates.
        """
        held, folder = self._ready(name, version)
        if held.embedder is None:
            raise invalid("model", f"'{name}' generates and does not turn texts into vectors")
        return folder, held.embedder

    def _ready(self, name: str, version: str) -> tuple[HeldModel, StoredModel]:
        held = self._models.get(name)
        if held is None:
            known = ", ".join(sorted(self._models)) or "none"
            raise RouterError(
                Reason.UNKNOWN_MODEL, f"model '{name}' is not held here; held are {known}"
            )
        if held.folder is None:
            if held.state is LoadState.FAILED:
                raise RouterError(Reason.MODEL_UNAVAILABLE, held.error)
            loading = f"model '{name}' is still loading"
            raise RouterError(Reason.MODEL_UNAVAILABLE, loading, retry_after=1.0)
        if version and version != held.folder.version:
            raise RouterError(
                Reason.UNKNOWN_MODEL,
                f"model '{name}' is held at version {held.folder.version}, not {version}",
            )
        return held, held.folder

    async def close(self) -> None:
        """Close every backend."""
        self.texts.close()
        for held in self._models.values():
            if held.engine is not None:
                await held.engine.close()

    async def _load_one(self, held: HeldModel) -> None:
        path = self._store / held.name
        try:
            embeds = kind_of(path) is Kind.EMBEDDING
            load = self._load_embedder if embeds else self._load_generator
            held.folder = await loaded_whole(path, load(held, path))
            held.state = LoadState.READY
            _log.info("model loaded", model=held.name, version=held.folder.version)
        except RouterError as error:
            # Callers hear of it too, whom the folders of this machine do not concern.
            told = error.message.replace(f"{self._store}{os.sep}", "")
            held.state, held.error = LoadState.FAILED, told
            _log.error("model failed to load", model=held.name, error=error.message)
            await _let_go(held)
        except Exception as error:  # noqa: BLE001 - an untrusted folder fails alone
            held.state = LoadState.FAILED
            held.error = f"the folder cannot be read ({type(error).__name__}); import it again"
            _log.exception("model failed to load", model=held.name)
            await _let_go(held)

    async def _load_generator(self, held: HeldModel, path: Path) -> StoredModel:
        """Load with the configured backend, or with the one that such folders are made for."""
        folder: ModelFolder | CTranslate2Folder
        if kind_of(path) is Kind.CTRANSLATE2:
            folder = await asyncio.to_thread(read_ctranslate2_folder, path)
            backend = await asyncio.to_thread(find_backend, Kind.CTRANSLATE2)
        else:
            folder = await asyncio.to_thread(read_folder, path)
            backend = self._backend
        held.text = await asyncio.to_thread(load_text, folder)
        held.tokenizer = await asyncio.to_thread(held.text.tokenizer_facts)
        held.backend = await backend.load(path, self._options)
        return folder

    async def _load_embedder(self, held: HeldModel, path: Path) -> EmbeddingFolder:
        folder = await asyncio.to_thread(read_embedding_folder, path)
        embedder = await asyncio.to_thread(find_embedder)
        held.embedder = await embedder.load(path, self._options)
        return folder


async def _let_go(held: HeldModel) -> None:
    """Free what a model had loaded before it failed."""
    engine, held.text, held.backend, held.embedder = held.engine, None, None, None
    if engine is not None:
        await engine.close()
