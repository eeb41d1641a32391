"""What somebody else might write: a backend that repeats prompts, an importer of recipes.

It knows of llmrouter only the interfaces, and is found by its entry points.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason
from llmrouter.inference.backends.base import (
    BackendEvent,
    BackendFinished,
    BackendOptions,
    BackendRequest,
    BackendStatistics,
    TokenDelta,
)
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.gguf import GgufImporter
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.text import ModelText, load_text


class EchoBackend:
    """Answers with the prompt's own tokens, as many as are asked for."""

    def __init__(self, text: ModelText, context: int) -> None:
        self._text, self.context = text, context
        self._running = 0

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> EchoBackend:
        read = await asyncio.to_thread(read_folder, folder)
        return cls(await asyncio.to_thread(load_text, read), read.context_length)

    @classmethod
    def honours(cls) -> frozenset[str]:
        return frozenset()

    async def generate(self, request: BackendRequest) -> AsyncIterator[BackendEvent]:
        began = time.monotonic()
        tokens = list(request.prompt_tokens)[: request.sampling.max_tokens]
        self._running += 1
        try:
            for token in tokens:
                yield TokenDelta(self._text.decode([token]), 1)
                await asyncio.sleep(0)
        finally:
            self._running -= 1
        took = time.monotonic() - began
        yield BackendFinished(
            FinishReason.LENGTH, "", len(request.prompt_tokens), len(tokens), 0.0, 0.0, took, 0.0
        )

    def statistics(self) -> BackendStatistics:
        return BackendStatistics(running=self._running, slots=1)

    def forget_prefixes(self, keep_bytes: int) -> None:
        pass

    async def close(self) -> None:
        pass


class RecipeImporter:
    """Makes a model of a recipe: a JSON object with the number of its layers."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        return source.suffix == ".recipe"

    @classmethod
    def open(cls, source: Path) -> Recipe:
        try:
            return Recipe(int(json.loads(source.read_text())["layers"]))
        except (ValueError, KeyError, TypeError) as error:
            message = f"{source}: is no recipe with a number of layers; write one"
            raise RouterError(Reason.MODEL_UNAVAILABLE, message) from error


class Recipe:
    precisions = ("int8", "fp32")

    def __init__(self, layers: int) -> None:
        self._layers = layers

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Have the importer of another format convert what the recipe says."""
        with tempfile.TemporaryDirectory() as kitchen:
            baked = Path(kitchen) / "baked.gguf"
            write_tiny_gguf(baked, Tiny(layers=self._layers))
            made = GgufImporter.open(baked).convert(target, precision, progress)
        progress("cook", 1, 1)
        return replace(made, licence="CC0-1.0")
