"""A folder with an encoder in the layout of sentence-transformers, checked before use.

`model.onnx`, `tokenizer.json` and `config.json`; where they are there, `modules.json`, the
`config.json` of the pooling and `sentence_bert_config.json` say how vectors are made. What they say
and this service does not compute is refused: vectors made otherwise look as good and are wrong.
Every value is treated as untrusted; nothing outside of the folder is ever opened.
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
_WIDTHS = {"distilbert": "dim"}
"""The field with a vector's values, where it is not `hidden_size`."""
_HEADS = {"distilbert": "n_heads"}
"""The field with the heads of attention, where it is not `num_attention_heads`."""
_USUAL_HEADS = 12
_MAX_DIMENSIONS = 8_000
"""As many texts as a request may carry have to fit in one message of 8 MiB."""
_MAX_CONTEXT = 1 << 20


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one."""

    MEAN = "mean"
    """Their mean."""
    CLS = "cls"
    """The first one."""
    MAX = "max"
    """The largest of each value."""


_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_POOLING_PATH = "1_Pooling"
_POOLING_PREFIX = "pooling_mode_"
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
    heads: int
    """Of attention."""
    pad_token_id: int
    pooling: Pooling
    normalised: bool
    """Whether vectors are scaled to length 1."""
    lower_case: bool
    """Whether texts are put in lower case before they are tokenized."""
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
    lengths = _optional(path, "sentence_bert_config.json")
    modules = _modules(path)
    return EmbeddingFolder(
        path=path,
        name=card.name if card else path.resolve().name,
        model_file=inside(path, ONNX_FILE, _REMEDY),
        architecture=architecture,
        vocab_size=vocab_size,
        context_length=_context(config, lengths),
        dimensions=config.integer(_WIDTHS.get(architecture, "hidden_size"), 1, _MAX_DIMENSIONS),
        heads=_heads(config, architecture),
        pad_token_id=config.integer("pad_token_id", 0, vocab_size - 1)
        if config.has("pad_token_id")
        else 0,
        pooling=_pooling(path, modules),
        normalised=modules is None or len(modules) > 2,
        lower_case=lengths is not None and lengths.flag("do_lower_case"),
        size_bytes=folder_bytes(path),
        card=card,
    )


def _heads(config: JsonObject, architecture: str) -> int:
    field = _HEADS.get(architecture, "num_attention_heads")
    return config.integer(field, 1, 4096) if config.has(field) else _USUAL_HEADS


def _optional(path: Path, name: str) -> JsonObject | None:
    if not (path / name).exists():
        return None
    return read_object(inside(path, name, _REMEDY), _REMEDY)


def _context(config: JsonObject, lengths: JsonObject | None) -> int:
    positions = config.integer("max_position_embeddings", 3, _MAX_CONTEXT)
    if lengths is None or not lengths.has("max_seq_length"):
        return positions
    return min(positions, lengths.integer("max_seq_length", 3, _MAX_CONTEXT))


def _pooling(path: Path, modules: list[JsonObject] | None) -> Pooling:
    """Return the one pooling that is switched on; the mean where nothing is said."""
    if modules is None:
        config = _optional(path, f"{_POOLING_PATH}/config.json")
    else:
        folder = modules[1].text("path", empty=True)
        config = read_object(inside(path, f"{folder}/config.json".lstrip("/"), _REMEDY), _REMEDY)
    if config is None:
        return Pooling.MEAN
    names = [name for name in config.names if name.startswith(_POOLING_PREFIX)]
    on = [name for name in names if config.flag(name)]
    if len(on) != 1 or on[0] not in _POOLING_FIELDS:
        told, known = ", ".join(on) or "none", ", ".join(_POOLING_FIELDS)
        problem = f"switches on {told[:200]}; it must switch on exactly one of {known}"
        raise broken_file(config.file, problem, _REMEDY)
    return _POOLING_FIELDS[on[0]]


def _modules(path: Path) -> list[JsonObject] | None:
    """Return the steps from a text to its vector; None where nothing is said of them."""
    if not (path / "modules.json").exists():
        return None
    file = inside(path, "modules.json", _REMEDY)
    content = read_json(file, _REMEDY)
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise broken_file(file, "must hold a list of objects", _REMEDY)
    modules = [JsonObject(file, f"[{at}].", one, _REMEDY) for at, one in enumerate(content)]
    kinds = [one.text("type").rsplit(".", 1)[-1] for one in modules]
    if kinds not in _MODULES:
        problem = f"lists {', '.join(kinds)[:200] or 'nothing'}"
        rule = "supported are Transformer and Pooling, and Normalize behind them"
        raise broken_file(file, f"{problem}; {rule}", _REMEDY)
    if modules[0].text("path", empty=True):
        raise modules[0].refuse("path", "must be empty: the encoder lies beside this file")
    return modules
