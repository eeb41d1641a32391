"""A folder with a text model as CTranslate2's converters write it, checked before use.

`model.bin`, `config.json`, the vocabulary, and beside them `tokenizer.json`, perhaps with a chat
template, whose ids are the vocabulary's. Decoder-only models have a `vocabulary.json`; those with
an encoder, such as T5, a `shared_vocabulary.json`. Every value is treated as untrusted; nothing
outside of the folder is ever opened. CTranslate2 itself reads the weights, once their names and
shapes have been found to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrouter.inference.models.card import ModelCard
from llmrouter.inference.models.ctranslate2_shapes import check_shapes
from llmrouter.inference.models.ctranslate2_weights import read_weights
from llmrouter.inference.models.folder import TOKENIZER_FILE, folder_bytes, folder_card
from llmrouter.inference.models.kinds import CTRANSLATE2_FILE, TRANSFORMER_FILE
from llmrouter.inference.models.untrusted_json import (
    JsonObject,
    broken_file,
    inside,
    read_json,
    read_object,
)

__all__ = ["CTranslate2Folder", "read_ctranslate2_folder"]

_VOCABULARY_FILE = "vocabulary.json"
_SHARED_FILE = "shared_vocabulary.json"
_REMEDY = "import the model again or convert it with CTranslate2's converters"
_DEFAULT_CONTEXT = 2048
"""Tokens where the folder says nothing: CTranslate2's own files do not."""
_NAMED_TOKENS = frozenset({"bos_token", "eos_token", "unk_token"})
_LONGEST_TOKEN = 8192
_EPSILON = "layer_norm_epsilon"
_MAX_CONTEXT = 1 << 20
_MAX_VOCABULARY = 2_000_000


@dataclass(frozen=True, slots=True)
class CTranslate2Folder:
    """A text model on disk, as its configuration describes it."""

    path: Path
    name: str
    """The card's name, else the folder's."""
    architecture: str
    tokens: tuple[str, ...]
    """By id, as CTranslate2 knows them."""
    context_length: int
    """Tokens of prompt and answer together; of either where an encoder reads the prompt. No more
    than the positions that the model has learned, whatever the configuration says."""
    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer, at least one."""
    encodes: bool
    """Whether an encoder reads the prompt and the decoder writes the answer apart from it."""
    size_bytes: int
    card: ModelCard | None
    """None for folders that others made."""

    @property
    def vocab_size(self) -> int:
        """Tokens that the model knows."""
        return len(self.tokens)

    @property
    def version(self) -> str:
        """The card's version; `unversioned` for folders that others made."""
        return self.card.version if self.card else "unversioned"


def read_ctranslate2_folder(path: Path) -> CTranslate2Folder:
    """Read and check the model folder at `path`; of the weights only names and shapes are read.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, what is wrong with it and the remedy.
    """
    config = read_object(inside(path, TRANSFORMER_FILE, _REMEDY), _REMEDY)
    for name in (CTRANSLATE2_FILE, TOKENIZER_FILE):
        inside(path, name, _REMEDY)
    encodes = not (path / _VOCABULARY_FILE).exists()
    tokens = _tokens(path, _SHARED_FILE if encodes else _VOCABULARY_FILE)
    _check_types(config)
    card = folder_card(path)
    weights = read_weights(path / CTRANSLATE2_FILE, _REMEDY)
    learned = check_shapes(weights, encodes=encodes, vocab_size=len(tokens), remedy=_REMEDY)
    return CTranslate2Folder(
        path=path,
        name=card.name if card else path.resolve().name,
        architecture=config.text("model_type") if config.has("model_type") else "unknown",
        tokens=tokens,
        context_length=_context(config, learned),
        eos_token_ids=_eos_token_ids(config, tokens),
        encodes=encodes,
        size_bytes=folder_bytes(path),
        card=card,
    )


def _check_types(config: JsonObject) -> None:
    """Check what CTranslate2 itself reads: of another type it fails without naming the field."""
    for name in _NAMED_TOKENS.intersection(config.names):
        config.text(name, longest=_LONGEST_TOKEN, empty=True)
    if config.has(_EPSILON):
        config.number(_EPSILON, 0, 1)


def _context(config: JsonObject, learned: int | None) -> int:
    """Return what the configuration says, else a modest number, within the positions `learned`."""
    context = _DEFAULT_CONTEXT
    if config.has("context_length"):
        context = config.integer("context_length", 1, _MAX_CONTEXT)
    return context if learned is None else min(context, learned)


def _tokens(path: Path, name: str) -> tuple[str, ...]:
    if not (path / name).exists():
        problem = f"is missing, and so is {_SHARED_FILE}; vocabularies apart are not supported"
        raise broken_file(path / _VOCABULARY_FILE, problem, _REMEDY)
    file = inside(path, name, _REMEDY)
    tokens = read_json(file, _REMEDY)
    right = (
        isinstance(tokens, list)
        and 0 < len(tokens) <= _MAX_VOCABULARY
        and all(isinstance(token, str) for token in tokens)
    )
    if not right:
        raise broken_file(file, f"must hold a list of 1 to {_MAX_VOCABULARY} texts", _REMEDY)
    seen: set[str] = set()
    for token in tokens:
        if token in seen:  # CTranslate2 would know the later one alone, by another id
            raise broken_file(file, f"has the token {token!r} twice", _REMEDY)
        seen.add(token)
    return tuple(tokens)


def _eos_token_ids(config: JsonObject, tokens: tuple[str, ...]) -> tuple[int, ...]:
    """Return our own list of ids, else the id of the one token that CTranslate2 names."""
    if config.has("eos_token_ids"):
        ids = config.raw("eos_token_ids")
        fits = isinstance(ids, list) and all(
            type(one) is int and 0 <= one < len(tokens) for one in ids
        )
        if not ids or not fits:
            raise config.refuse("eos_token_ids", f"must hold whole numbers 0 to {len(tokens) - 1}")
        return tuple(ids)
    token = config.text("eos_token")
    if token not in tokens:
        raise config.refuse("eos_token", f"is {token!r}, which is not in the vocabulary")
    return (tokens.index(token),)
