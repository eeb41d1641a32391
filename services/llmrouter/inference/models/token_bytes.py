"""The bytes of every token, so that the engine can cut text at UTF-8 boundaries by itself.

Two families are known: GPT-2's byte-level alphabet, where each byte is written as one printable
character (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019), and
SentencePiece's pieces, where `▁` is a space and `<0xNN>` a single byte (Kudo and Richardson, 2018).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

__all__ = ["byte_alphabet", "is_byte_level", "token_bytes"]

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's mapping from character to byte: printable bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + index): byte for index, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


def token_bytes(tokenizer: Tokenizer, vocab_size: int) -> list[bytes]:
    """Return one entry per id below `vocab_size`; b"" for control tokens and unused ids."""
    alphabet = byte_alphabet() if is_byte_level(json.loads(tokenizer.to_str())) else None
    added = tokenizer.get_added_tokens_decoder()
    result = [b""] * vocab_size
    for piece, one in tokenizer.get_vocab(with_added_tokens=False).items():
        result[one] = _piece_bytes(piece, alphabet)
    for one, token in added.items():
        result[one] = b"" if token.special else token.content.encode()
    return result


def _piece_bytes(piece: str, alphabet: dict[str, int] | None) -> bytes:
    if alphabet is not None:
        known = [alphabet[letter] for letter in piece if letter in alphabet]
        return bytes(known) if len(known) == len(piece) else piece.encode()
    byte = _BYTE_PIECE.fullmatch(piece)
    if byte:
        return bytes([int(byte[1], 16)])
    return piece.replace("\u2581", " ").encode()


def is_byte_level(parts: Mapping[str, Any]) -> bool:
    """Whether the tokenizer of which these are the parts writes pieces in GPT-2's alphabet."""
    return "ByteLevel" in set(_kinds(parts.get("decoder")))


def _kinds(part: Any) -> Iterator[str]:
    """Yield the types of a decoder and of those nested in it."""
    if isinstance(part, dict):
        yield str(part.get("type"))
        for inner in part.get("decoders", []):
            yield from _kinds(inner)
