"""From a model folder to something that computes: whoever runs such folders, found and started."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import structlog

from llmrouter.common.capabilities import CHAT, COMPLETION, EMBEDDING
from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import Backend, BackendOptions, Embedder
from llmrouter.inference.backends.free_memory import give_back
from llmrouter.inference.background import in_background
from llmrouter.inference.models.counted import Counted, cached_context, count
from llmrouter.inference.models.ctranslate2_folder import CTranslate2Folder, read_ctranslate2_folder
from llmrouter.inference.models.embedding_folder import EmbeddingFolder, read_embedding_folder
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.graph_check import check_graph, load_graph
from llmrouter.inference.models.graph_operators import GraphKind
from llmrouter.inference.models.integrity import loaded_whole
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of
from llmrouter.inference.models.text import ModelText, load_text
from llmrouter.inference.models.tokenizer_facts import UNKNOWN_TOKENIZER, TokenizerFacts

__all__ = ["Facts", "OpenModel", "Opener", "find_backend", "find_embedder", "written_at"]

_log = structlog.get_logger("llmrouter.models")
_EMBEDDER = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a version without loading it."""

    folder: StoredModel
    version: str
    """The fingerprint of its contents; for a folder that others made its label, else
    `unversioned`."""
    context: int
    """Tokens of prompt and answer together that one sequence may hold."""
    capabilities: frozenset[str]
    """What may be asked of it, by the names of `common/capabilities.py`."""
    dimensions: int
    """Values of one vector; 0 for a model that generates."""
    counted: Counted
    """The memory that it counts for."""
    tokenizer: TokenizerFacts = UNKNOWN_TOKENIZER
    """Not known of embedding models."""
    written: float = 0.0
    """When the folder that was read had been written, in seconds since 1970."""

    @property
    def memory(self) -> int:
        """Bytes of it all together."""
        return self.counted.total


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A version that computes; either a backend with its text side, or an embedder."""

    facts: Facts
    text: ModelText | None = None
    backend: Backend | None = None
    """Set for a model that generates."""
    embedder: Embedder | None = None
    """Set for a model that turns texts into vectors."""

    @property
    def engine(self) -> Backend | Embedder:
        """Whatever runs it."""
        engine = self.backend or self.embedder
        if engine is None:
            raise TypeError("an open model has a backend or an embedder")
        return engine


class Opener:
    """Opens the folders of every kind.

    Args:
        backend: The class that runs folders in the layout of onnxruntime-genai.
        options: How models are run.
    """

    def __init__(self, backend: type[Backend], options: BackendOptions) -> None:
        self._backend, self._options = backend, options

    async def describe(self, path: Path) -> Facts:
        """Read what there is to know of the folder at `path`; weights are not opened.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming what is wrong with its files.
        """
        with _failures_told(path):
            return await in_background(self._describe, path)

    async def open(self, path: Path) -> OpenModel:
        """Load the folder at `path` with the configured backend, or the one such are made for.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming what is wrong with its files.
        """
        running: list[Backend | Embedder] = []
        with _failures_told(path):
            try:
                model = await loaded_whole(path, self._open(path, running))
                # Not in a thread that stands back: it holds the interpreter while it collects.
                await asyncio.to_thread(give_back)
            except BaseException:
                for one in running:
                    await one.close()
                raise
            return model

    async def _open(self, path: Path, running: list[Backend | Embedder]) -> OpenModel:
        """Load; what runs from then on is put into `running`, whatever happens behind it."""
        if kind_of(path) is Kind.EMBEDDING:
            facts = await in_background(self._describe, path)
            await in_background(_check, facts.folder, GraphKind.ENCODER)
            embedder = await in_background(find_embedder)
            running.append(encoder := await embedder.load(path, self._options))
            return OpenModel(facts, embedder=encoder)
        written = await in_background(written_at, path)
        folder, backend = await in_background(self._generator, path)
        await in_background(_check, folder, GraphKind.DECODER)
        text = await in_background(load_text, folder)
        running.append(engine := await backend.load(path, self._options))
        sides = await in_background(_sides, text, backend)
        facts = self._facts(folder, engine.context, sides, written)
        return OpenModel(facts, text=text, backend=engine)

    def _describe(self, path: Path) -> Facts:
        written = written_at(path)  # before its files: what changes meanwhile is read again
        if kind_of(path) is Kind.EMBEDDING:
            encoder = read_embedding_folder(path)
            sides = frozenset({EMBEDDING}), UNKNOWN_TOKENIZER
            return self._facts(encoder, encoder.context_length, sides, written)
        folder, backend = self._generator(path)
        context = cached_context(folder, self._options)
        return self._facts(folder, context, _sides(load_text(folder), backend), written)

    def _generator(self, path: Path) -> tuple[ModelFolder | CTranslate2Folder, type[Backend]]:
        if kind_of(path) is Kind.CTRANSLATE2:
            return read_ctranslate2_folder(path), find_backend(Kind.CTRANSLATE2)
        return read_folder(path), self._backend

    def _facts(
        self,
        folder: StoredModel,
        context: int,
        sides: tuple[frozenset[str], TokenizerFacts],
        written: float,
    ) -> Facts:
        label = folder.path.name.partition("@")[2]
        return Facts(
            folder=folder,
            version=folder.version if folder.card else label or folder.version,
            context=context,
            capabilities=sides[0],
            tokenizer=sides[1],
            dimensions=folder.dimensions if isinstance(folder, EmbeddingFolder) else 0,
            counted=count(folder, self._options),
            written=written,
        )


def written_at(path: Path) -> float:
    """Return when a folder was written, in seconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _check(folder: StoredModel, kind: GraphKind) -> None:
    """Refuse a graph that would never end, or fill memory, before anybody opens it."""
    if isinstance(folder, ModelFolder | EmbeddingFolder):
        check_graph(folder.model_file, load_graph(folder.model_file), kind)


@contextmanager
def _failures_told(path: Path) -> Iterator[None]:
    """Turn whatever an untrusted folder makes a library raise into a refusal of the folder."""
    try:
        yield
    except RouterError:
        raise
    except Exception as error:
        _log.exception("a model's folder cannot be read", model=path.name)
        message = f"the folder cannot be read ({type(error).__name__}); import it again"
        raise RouterError(Reason.MODEL_UNAVAILABLE, message) from error


def _sides(text: ModelText, backend: type[Backend]) -> tuple[frozenset[str], TokenizerFacts]:
    """Return what may be asked of a model that generates, and how it deals with text."""
    chat = {CHAT} if text.has_template else set()
    return frozenset({COMPLETION, *chat, *backend.honours()}), text.tokenizer_facts()


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
