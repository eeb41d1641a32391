"""What others may know of a tokenizer: whether two are the same, and what one token can hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from tokenizers import Tokenizer

from llmrouter.inference.models.token_bytes import is_byte_level

__all__ = ["UNKNOWN_TOKENIZER", "TokenizerFacts", "tokenizer_facts"]

_BYTES_OF_TEXT = frozenset(
    bytes([byte])
    for byte in (*b"\t\n\r", *range(0x20, 0xF5))
    if byte not in (0x7F, 0xC0, 0xC1, 0xF1, 0xF2)
)
"""Those that UTF-8 has a use for (RFC 3629): control codes and the planes of Unicode without any
character apart, for which tokenizers that drop nothing else often have no token."""


class TokenizerFacts(NamedTuple):
    """How a model's tokenizer deals with text."""

    fingerprint: str = ""
    """16 hex digits; equal ones make the same tokens of a text. Empty where it is not known."""
    longest_token_bytes: int = 0
    """UTF-8 bytes of text that one token stands for at most; 0 where nothing bounds it."""


UNKNOWN_TOKENIZER = TokenizerFacts()


def tokenizer_facts(tokenizer: Tokenizer, pieces: Sequence[bytes]) -> TokenizerFacts:
    """Return the facts; takes a tenth of a second, so call it in a thread.

    Byte-level tokenizers with a token for each byte that do not normalise keep all of a text.
    Others may drop or shorten it, or write a whole word as one unknown token; so may added tokens
    that swallow the space beside them.

    Args:
        tokenizer: The tokenizer.
        pieces: What each of its tokens stands for.
    """
    whole = tokenizer.to_str()
    mark = hashlib.blake2b(whole.encode(), digest_size=8).hexdigest()
    parts = json.loads(whole)
    added = tokenizer.get_added_tokens_decoder().values()
    swallows = any(token.lstrip or token.rstrip for token in added)
    keeps = parts.get("normalizer") is None and is_byte_level(parts)
    if swallows or not keeps or not _BYTES_OF_TEXT.issubset(pieces):
        return TokenizerFacts(mark)
    longest = max(len(piece) for piece in [*pieces, *(token.content.encode() for token in added)])
    return TokenizerFacts(mark, longest)
