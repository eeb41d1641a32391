"""Tokenizers, shared by the models whose files say the same: versions of one model mostly do."""

from __future__ import annotations

import hashlib
from array import array
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from weakref import WeakValueDictionary

from tokenizers import Tokenizer

from llmrouter.inference.models.text_files import open_tokenizer, parse_tokenizer
from llmrouter.inference.models.token_bytes import token_bytes
from llmrouter.inference.models.tokenizer_facts import TokenizerFacts, tokenizer_facts

__all__ = ["SharedTokenizer", "share_tokenizer"]

_held: WeakValueDictionary[tuple[bytes, int], SharedTokenizer] = WeakValueDictionary()
"""By the contents of the file and the size of the model's vocabulary."""


class SharedTokenizer:
    """A tokenizer with what follows from it, each computed once. Safe to use from several threads.

    Reading one holds the interpreter for a third of a second, which whoever serves waits for: a
    version that is loaded beside another takes the other's.

    Args:
        tokenizer: As it was read.
        growth: Bytes it may make of one.
        vocab_size: Tokens that the model knows.
    """

    def __init__(self, tokenizer: Tokenizer, growth: int, vocab_size: int) -> None:
        self.tokenizer, self.growth = tokenizer, growth
        self.plain = _with_controls_as_text(tokenizer)
        """The same, but for control tokens, which it takes for ordinary text."""
        self._pieces = _Pieces(token_bytes(tokenizer, vocab_size))

    @property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token id below the vocabulary's size; b"" for control tokens.

        A list that is made each time: who holds it holds megabytes.
        """
        return self._pieces.unpacked()

    @cached_property
    def facts(self) -> TokenizerFacts:
        """What others may know of it."""
        return tokenizer_facts(self.tokenizer, self.token_bytes)


def _with_controls_as_text(tokenizer: Tokenizer) -> Tokenizer:
    """Return one that takes control tokens for ordinary text.

    Vocabulary and merges are those of `tokenizer`, shared: to read them a second time would hold
    the interpreter for half a second, and take their memory again.
    """
    plain = Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (shared := getattr(tokenizer, part)) is not None:
            setattr(plain, part, shared)
    # In the order of their ids: those that the vocabulary lacks are numbered as they come.
    plain.add_tokens([token for _, token in sorted(tokenizer.get_added_tokens_decoder().items())])
    plain.encode_special_tokens = True
    return plain


class _Pieces:
    """Many short byte strings in a tenth of the memory that objects for them take."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._joined = b"".join(pieces)
        self._ends = array("I", accumulate(len(piece) for piece in pieces))

    def unpacked(self) -> list[bytes]:
        """Return them one by one."""
        return [
            self._joined[begin:end]
            for begin, end in zip([0, *self._ends], self._ends, strict=False)
        ]


def share_tokenizer(path: Path, vocab_size: int) -> SharedTokenizer:
    """Return the tokenizer of the folder at `path`, the one in use where the files are equal.

    Raises:
        RouterError: As `text_files.parse_tokenizer`.
    """
    file, content = open_tokenizer(path)
    key = hashlib.sha256(content).digest(), vocab_size
    shared = _held.get(key)
    if shared is None:
        tokenizer, growth = parse_tokenizer(file, content, vocab_size)
        shared = _held[key] = SharedTokenizer(tokenizer, growth, vocab_size)
    return shared
