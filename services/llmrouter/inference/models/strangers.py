"""Folders of a store that are no models, and why: nobody is to look for them in vain."""

from __future__ import annotations

from pathlib import Path

from llmrouter.inference.models.folder import CONFIG_FILE
from llmrouter.inference.models.kinds import (
    CTRANSLATE2_FILE,
    ONNX_FILE,
    TRANSFORMER_FILE,
    kind_of,
)

__all__ = ["strangers"]

_WHY = (
    f"is no model folder: it has no {CONFIG_FILE} (onnxruntime-genai) and no {TRANSFORMER_FILE} "
    f"beside a {CTRANSLATE2_FILE} (CTranslate2) or a {ONNX_FILE} (embeddings); import the model "
    "again, or move the folder out of the store"
)


def strangers(store: Path) -> dict[str, str]:
    """Return what is wrong with each visible folder of `store` that is no model, by its name."""
    if not store.is_dir():
        return {}
    folders = (one for one in store.iterdir() if one.is_dir() and one.name[0] != ".")
    return {one.name: _WHY for one in sorted(folders) if kind_of(one) is None}
