"""Writing tokenizer.json and its companions from a GGUF's vocabulary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

__all__ = ["CONTROL", "PRE_TOKENIZERS", "Vocabulary", "write_tokenizer"]

CONTROL, _USER_DEFINED = 3, 4

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {
    "qwen2": (_WORDS % r"\p{N}",),
    "llama-bpe": (_WORDS % r"\p{N}{1,3}",),
    "default": (
        r"[\p{P}\$\+<=>\^~\|]+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
        r"\p{N}+",
        r"[0-9][0-9][0-9]",
    ),
}
"""How texts are split, by one pattern after the other, where it is not GPT-2's way. `default` is
what llama.cpp does where a converter did not know."""

PRE_TOKENIZERS = ("smollm", "gpt-2", *_PATTERNS)
"""Names of `tokenizer.ggml.pre` whose splitting rules are known here."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A BPE vocabulary as a GGUF holds it."""

    tokens: Sequence[str]
    types: Sequence[int]
    """1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 a byte."""
    merges: Sequence[tuple[str, str]]
    """Pairs, best first."""
    pre_tokenizer: str | None
    """One of `PRE_TOKENIZERS`; None for SentencePiece, whose spaces are `▁`."""
    bos: int | None
    eos: int
    pad: int | None
    unknown: int | None
    chat_template: str | None
    adds_bos: bool = False
    """Whether a prompt begins with the begin token."""
    prefix_space: bool = False
    """Whether a text of SentencePiece is read as if a space stood before it."""


def write_tokenizer(target: Path, vocabulary: Vocabulary) -> None:
    """Write the tokenizer files of a model folder.

    Raises:
        ValueError: The tokenizers library refuses the vocabulary.
    """
    content = _tokenizer(vocabulary).to_str(pretty=False)
    (target / "tokenizer.json").write_text(content, encoding="utf-8")
    _write_config(target, vocabulary)


def _tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    try:
        tokenizer = _pieces(vocabulary) if vocabulary.pre_tokenizer is None else _bytes(vocabulary)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(str(error)) from error
    # SentencePiece's own symbols stand for normalised text: their spaces are `▁` too.
    normalized = vocabulary.pre_tokenizer is None and not vocabulary.prefix_space
    plain, control = [], []
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind == CONTROL:
            control.append(AddedToken(token, special=True, normalized=False))
        elif kind == _USER_DEFINED:
            plain.append(AddedToken(token, normalized=normalized))
    tokenizer.add_tokens(plain)
    tokenizer.add_special_tokens(control)
    if vocabulary.adds_bos and vocabulary.bos is not None:
        begin = vocabulary.tokens[vocabulary.bos]
        tokenizer.post_processor = TemplateProcessing(
            single=[begin, "$A"], special_tokens=[(begin, vocabulary.bos)]
        )
    return tokenizer


def _bytes(vocabulary: Vocabulary) -> Tokenizer:
    """Return a tokenizer over bytes written as letters (GPT-2)."""
    pre = str(vocabulary.pre_tokenizer)
    # Llama 3 takes a word that is a token as it is, whatever merges would make of it.
    tokenizer = Tokenizer(
        models.BPE(
            vocab=_ids(vocabulary),
            merges=list(vocabulary.merges),
            ignore_merges=pre == "llama-bpe",
        )
    )
    if pre in _PATTERNS:
        splits = [pre_tokenizers.Split(Regex(one), "isolated") for one in _PATTERNS[pre]]
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    else:
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = (
            pre_tokenizers.Sequence([digits, letters]) if pre == "smollm" else letters
        )
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pieces(vocabulary: Vocabulary) -> Tokenizer:
    """Return a tokenizer over SentencePiece's pieces, what they lack spelt in bytes."""
    unknown = None if vocabulary.unknown is None else vocabulary.tokens[vocabulary.unknown]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=_ids(vocabulary),
            merges=list(vocabulary.merges),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces = normalizers.Replace(" ", "▁")
    written = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if vocabulary.prefix_space:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        written.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.normalizer = spaces
    tokenizer.decoder = decoders.Sequence(written)
    return tokenizer


def _ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {token: index for index, token in enumerate(vocabulary.tokens)}


def _write_config(target: Path, vocabulary: Vocabulary) -> None:
    special = {
        name: vocabulary.tokens[index]
        for name, index in (
            ("bos_token", vocabulary.bos),
            ("eos_token", vocabulary.eos),
            ("pad_token", vocabulary.pad),
            ("unk_token", vocabulary.unknown),
        )
        if index is not None
    }
    pieces = vocabulary.pre_tokenizer is None
    config = {
        **special,
        "add_bos_token": vocabulary.adds_bos,
        "add_prefix_space": vocabulary.prefix_space,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "LlamaTokenizer" if pieces else "GPT2Tokenizer",
    }
    if vocabulary.chat_template:
        config["chat_template"] = vocabulary.chat_template
    for name, content in (
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", special),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (target / name).write_text(text, encoding="utf-8")
