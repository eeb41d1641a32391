"""Folders of a store that are no models, and why: nobody is to look for them in vain."""

from __future__ import annotations

import os
from pathlib import Path

from llmrouter.inference.models.folder import CONFIG_FILE
from llmrouter.inference.models.kinds import (
    CTRANSLATE2_FILE,
    ONNX_FILE,
    TRANSFORMER_FILE,
    kind_of,
)
from llmrouter.inference.models.versions import is_key

__all__ = ["strangers"]

_WHY = (
    f"is no model folder: it has no {CONFIG_FILE} (onnxruntime-genai) and no {TRANSFORMER_FILE} "
    f"beside a {CTRANSLATE2_FILE} (CTranslate2) or a {ONNX_FILE} (embeddings); import the model "
    "again, or move the folder out of the store"
)
_NAMELESS = (
    "has a name that no model may have; rename the folder to lower-case letters, digits, dots, "
    "dashes or underscores, starting with a letter or digit; a version's label may follow an @"
)


def strangers(store: Path) -> dict[str, str]:
    """Return what is wrong with each visible folder of `store` that is no model, by its name."""
    if not store.is_dir():
        return {}
    folders = (one for one in store.iterdir() if one.is_dir() and one.name[0] != ".")
    found = {}
    for one in sorted(folders):
        if kind_of(one) is None:
            found[_shown(one.name)] = _WHY
        elif not is_key(one.name):
            found[_shown(one.name)] = _NAMELESS
    return found


def _shown(name: str) -> str:
    """Return a folder's name as text, whatever its bytes are."""
    return os.fsencode(name).decode(errors="replace")
