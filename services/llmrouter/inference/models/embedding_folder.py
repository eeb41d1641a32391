"""A folder with an encoder in the layout of sentence-transformers, checked before use.

`model.onnx`, `tokenizer.json` and `config.json`; where they are there, `1_Pooling/config.json`,
`modules.json` and `sentence_bert_config.json` say how vectors are made. Every value is treated as
untrusted; nothing outside of the folder is ever opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from llmrouter.inference.models.card import ModelCard
from llmrouter.inference.models.folder import TOKENIZER_FILE, folder_bytes, folder_card
from llmrouter.inference.models.kinds import ONNX_FILE, TRANSFORMER_FILE
from llmrouter.inference.models.untrusted_json import (
    JsonObject,
    broken_file,
    inside,
    read_json,
    read_object,
)

__all__ = ["EmbeddingFolder", "Pooling", "read_embedding_folder"]

_REMEDY = "pull the model again or point to a folder made for sentence-transformers"
_ARCHITECTURES = ("bert", "distilbert", "electra", "albert")
"""Those whose positions count from 0."""
_MAX_DIMENSIONS = 16_384
_MAX_CONTEXT = 1 << 20


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one."""

    MEAN = "mean"
    """Their mean."""
    CLS = "cls"
    """The first one."""
    MAX = "max"
    """The largest of each value."""


_POOLING_FIELDS = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_max_tokens": Pooling.MAX,
}


@dataclass(frozen=True, slots=True)
class EmbeddingFolder:
    """An encoder on disk, as its configuration describes it."""

    path: Path
    name: str
    """The card's name, else the folder's."""
    model_file: Path
    architecture: str
    """Hugging Face's model type, such as `bert`."""
    vocab_size: int
    context_length: int
    """Tokens of one text, control tokens included."""
    dimensions: int
    pad_token_id: int
    pooling: Pooling
    normalised: bool
    """Whether vectors are scaled to length 1."""
    size_bytes: int
    card: ModelCard | None
    """None for folders that others made."""

    @property
    def version(self) -> str:
        """The card's version; `unversioned` for folders that others made."""
        return self.card.version if self.card else "unversioned"


def read_embedding_folder(path: Path) -> EmbeddingFolder:
    """Read and check the embedding model at `path`; weights are not opened.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, what is wrong with it and the remedy.
    """
    config = read_object(inside(path, TRANSFORMER_FILE, _REMEDY), _REMEDY)
    inside(path, TOKENIZER_FILE, _REMEDY)
    architecture = config.text("model_type")
    if architecture not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise config.refuse("model_type", f"is {architecture!r}; supported are {known}")
    card = folder_card(path)
    vocab_size = config.integer("vocab_size", 1, 2_000_000)
    return EmbeddingFolder(
        path=path,
        name=card.name if card else path.resolve().name,
        model_file=inside(path, ONNX_FILE, _REMEDY),
        architecture=architecture,
        vocab_size=vocab_size,
        context_length=_context(path, config),
        dimensions=config.integer("hidden_size", 1, _MAX_DIMENSIONS),
        pad_token_id=config.integer("pad_token_id", 0, vocab_size - 1)
        if config.has("pad_token_id")
        else 0,
        pooling=_pooling(path),
        normalised=_normalised(path),
        size_bytes=folder_bytes(path),
        card=card,
    )


def _optional(path: Path, name: str) -> JsonObject | None:
    if not (path / name).exists():
        return None
    return read_object(inside(path, name, _REMEDY), _REMEDY)


def _context(path: Path, config: JsonObject) -> int:
    positions = config.integer("max_position_embeddings", 3, _MAX_CONTEXT)
    lengths = _optional(path, "sentence_bert_config.json")
    if lengths is None or not lengths.has("max_seq_length"):
        return positions
    return min(positions, lengths.integer("max_seq_length", 3, _MAX_CONTEXT))


def _pooling(path: Path) -> Pooling:
    """Return the one pooling that is switched on; the mean where nothing is said."""
    name = "1_Pooling/config.json"
    config = _optional(path, name)
    if config is None:
        return Pooling.MEAN
    fields = [field for field in _POOLING_FIELDS if config.raw(field) is True]
    others = "pooling_mode_mean_sqrt_len_tokens"
    if len(fields) != 1 or config.raw(others) is True:
        raise broken_file(
            path / name, f"must switch on exactly one of {', '.join(_POOLING_FIELDS)}", _REMEDY
        )
    return _POOLING_FIELDS[fields[0]]


def _normalised(path: Path) -> bool:
    """Whether the modules end in a normalisation; they do where nothing is said."""
    if not (path / "modules.json").exists():
        return True
    file = inside(path, "modules.json", _REMEDY)
    modules = read_json(file, _REMEDY)
    if not isinstance(modules, list) or not all(isinstance(one, dict) for one in modules):
        raise broken_file(file, "must hold a list of objects", _REMEDY)
    return any(str(one.get("type", "")).endswith(".Normalize") for one in modules)
