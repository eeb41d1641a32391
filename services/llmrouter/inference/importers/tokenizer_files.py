"""Writing tokenizer.json and its companions from a GGUF's vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

__all__ = ["PRE_TOKENIZERS", "Vocabulary", "write_tokenizer"]

_CONTROL, _USER_DEFINED = 3, 4

PRE_TOKENIZERS = ("smollm", "gpt-2", "default")
"""Names of `tokenizer.ggml.pre` whose splitting rules are known here."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level BPE vocabulary as a GGUF holds it."""

    tokens: Sequence[str]
    types: Sequence[int]
    """1 normal, 3 control, 4 user defined."""
    merges: Sequence[str]
    """Pairs as `left right`, best first."""
    pre_tokenizer: str
    bos: int | None
    eos: int
    pad: int | None
    unknown: int | None
    chat_template: str | None


def write_tokenizer(target: Path, vocabulary: Vocabulary) -> None:
    """Write the tokenizer files of a model folder.

    Raises:
        ValueError: The tokenizers library refuses the vocabulary.
    """
    content = _tokenizer(vocabulary).to_str(pretty=False)
    (target / "tokenizer.json").write_text(content, encoding="utf-8")
    _write_config(target, vocabulary)


def _tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    merges = []
    for merge in vocabulary.merges:
        left, _, right = merge.partition(" ")
        merges.append((left, right))
    try:
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(str(error)) from error
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if vocabulary.pre_tokenizer == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    else:
        tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    added = [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_tokens([token for token in added if not token.special])
    tokenizer.add_special_tokens([token for token in added if token.special])
    return tokenizer


def _write_config(target: Path, vocabulary: Vocabulary) -> None:
    def token(index: int | None) -> str | None:
        return None if index is None else vocabulary.tokens[index]

    special = {
        name: token(index)
        for name, index in (
            ("bos_token", vocabulary.bos),
            ("eos_token", vocabulary.eos),
            ("pad_token", vocabulary.pad),
            ("unk_token", vocabulary.unknown),
        )
        if index is not None
    }
    config = {
        **special,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "GPT2Tokenizer",
    }
    if vocabulary.chat_template:
        config["chat_template"] = vocabulary.chat_template
    for name, content in (
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", special),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (target / name).write_text(text, encoding="utf-8")
