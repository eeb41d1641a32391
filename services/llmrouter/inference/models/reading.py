"""Reads a model folder of whatever kind."""

from __future__ import annotations

from pathlib import Path

from llmrouter.inference.models.ctranslate2_folder import read_ctranslate2_folder
from llmrouter.inference.models.embedding_folder import read_embedding_folder
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of

__all__ = ["read_model"]


def read_model(path: Path) -> StoredModel:
    """Read and check the model folder at `path`; weights are not opened.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, what is wrong with it and the remedy.
    """
    kind = kind_of(path)
    if kind is Kind.EMBEDDING:
        return read_embedding_folder(path)
    if kind is Kind.CTRANSLATE2:
        return read_ctranslate2_folder(path)
    return read_folder(path)
