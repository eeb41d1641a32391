"""What others may know of a tokenizer: whether two are the same, and what one token can hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from llmrouter.common.text_bytes import COUNTED_BYTES
from llmrouter.inference.models.token_bytes import byte_alphabet, is_byte_level

__all__ = ["UNKNOWN_TOKENIZER", "TokenizerFacts", "tokenizer_facts"]

_KEEPERS = frozenset({"ByteLevel", "Digits"})
"""Pre-tokenizers that only cut a text, or write its bytes in another alphabet."""
_CUTTERS = frozenset({"Split", "Punctuation"})
"""Those that leave out what they match where their behaviour is `Removed`."""

_A = "A"
"""What a text of its own is called in the templates of post-processors."""


class TokenizerFacts(NamedTuple):
    """How a model's tokenizer deals with text."""

    fingerprint: str = ""
    """16 hex digits; equal ones make the same tokens of a text. Empty where it is not known."""
    longest_token_bytes: int = 0
    """Of a text's `COUNTED_BYTES`, those that one token stands for at most; 0 where no bound is
    proven."""


UNKNOWN_TOKENIZER = TokenizerFacts()


def tokenizer_facts(tokenizer: Tokenizer, pieces: Sequence[bytes]) -> TokenizerFacts:
    """Return the facts; takes a tenth of a second, so call it in a thread.

    The bound is proven part by part: nothing normalises; what cuts the text leaves nothing out and
    writes it in bytes; each byte has a token, so that the model merges bytes and drops none; no
    added token swallows the space beside it; what puts control tokens around keeps what is between.

    Args:
        tokenizer: The tokenizer.
        pieces: What each of its tokens stands for.
    """
    whole = tokenizer.to_str()
    mark = hashlib.blake2b(whole.encode(), digest_size=8).hexdigest()
    parts = json.loads(whole)
    added = tokenizer.get_added_tokens_decoder().values()
    swallows = any(token.lstrip or token.rstrip for token in added)
    if swallows or not _keeps_text(parts):
        return TokenizerFacts(mark)
    longest = max(len(piece) for piece in [*pieces, *(token.content.encode() for token in added)])
    return TokenizerFacts(mark, longest)


def _keeps_text(parts: Mapping[str, Any]) -> bool:
    return (
        parts.get("normalizer") is None
        and _keeps_cuts(parts.get("pre_tokenizer"))
        and _has_every_byte(parts["model"])
        and is_byte_level(parts)
        and _keeps_inside(parts.get("post_processor"))
    )


def _keeps_cuts(part: Any) -> bool:
    """Whether a pre-tokenizer keeps all of a text and ends by writing it in bytes."""
    steps = _steps(part, "pretokenizers")
    keep = all(
        step["type"] in _KEEPERS or (step["type"] in _CUTTERS and step.get("behavior") != "Removed")
        for step in steps
    )
    return keep and "ByteLevel" in {step["type"] for step in steps}


def _has_every_byte(model: Mapping[str, Any]) -> bool:
    """Whether a model merges bytes that all have a token of their own, wherever they stand."""
    if model["type"] != "BPE":
        return False
    # With one of these, a byte inside of a word or at its end would need a token of another name.
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    known = {byte for piece, byte in byte_alphabet().items() if piece in model["vocab"]}
    return known >= COUNTED_BYTES


def _keeps_inside(part: Any) -> bool:
    """Whether a post-processor keeps the tokens that it puts control tokens around."""
    return all(
        step["type"] == "ByteLevel"
        or (step["type"] == "TemplateProcessing" and _A in map(_sequence, step["single"]))
        for step in _steps(part, "processors")
    )


def _sequence(piece: Mapping[str, Any]) -> Any:
    return piece.get("Sequence", {}).get("id")


def _steps(part: Any, inner: str) -> list[Mapping[str, Any]]:
    """Return a part and, for a sequence, those in it."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [step for one in part[inner] for step in _steps(one, inner)]
