"""What checkpoints of decoders have in common, whatever their format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.base import Checkpoint
from llmrouter.inference.importers.tensors import Tensors

__all__ = ["DecoderCheckpoint"]


class DecoderCheckpoint(Checkpoint, Protocol):
    """A checkpoint that says its shape and hands out its weights in pieces."""

    @property
    def model(self) -> Architecture:
        """Its shape."""
        ...

    @property
    def tensors(self) -> Tensors:
        """Its weights."""
        ...

    @property
    def licence(self) -> str:
        """As it states it; `unknown` where it does not."""
        ...

    def words(self) -> list[str]:
        """Return its tokens, by id: as many as the model knows."""
        ...

    def write_texts(self, target: Path) -> None:
        """Write tokenizer and chat template into the folder `target`.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
            OSError: The disk refuses.
        """
        ...
