"""What kinds of model folders there are, told apart by the files in them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from llmrouter.inference.models.card import ModelCard
from llmrouter.inference.models.folder import CONFIG_FILE

__all__ = ["CTRANSLATE2_FILE", "ONNX_FILE", "TRANSFORMER_FILE", "Kind", "StoredModel", "kind_of"]

CTRANSLATE2_FILE = "model.bin"
ONNX_FILE = "model.onnx"
TRANSFORMER_FILE = "config.json"


class Kind(StrEnum):
    """How a folder is laid out, and with that what it can do and who runs it."""

    GENAI = "onnxruntime-genai"
    """Generates."""
    CTRANSLATE2 = "ctranslate2"
    """Generates."""
    EMBEDDING = "embedding"
    """Turns texts into vectors."""


class StoredModel(Protocol):
    """What folders of every kind have."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def name(self) -> str:
        """The card's name, else the folder's."""
        ...

    @property
    def architecture(self) -> str:
        """Such as `llama` or `bert`."""
        ...

    @property
    def version(self) -> str:
        """The card's version; `unversioned` for folders that others made."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens that fit."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        ...

    @property
    def card(self) -> ModelCard | None:
        """None for folders that others made."""
        ...


def kind_of(path: Path) -> Kind | None:
    """Return the kind of the folder at `path`; None where it is no model folder."""
    if (path / CONFIG_FILE).is_file():
        return Kind.GENAI
    if not (path / TRANSFORMER_FILE).is_file():
        return None
    if (path / CTRANSLATE2_FILE).is_file():
        return Kind.CTRANSLATE2
    return Kind.EMBEDDING if (path / ONNX_FILE).is_file() else None
