"""The shape of a decoder, as far as its memory depends on it: of a folder, or of one to come."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DecoderShape"]


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes of a decoder."""

    size_bytes: int
    """Of all files of its folder together."""
    context_length: int
    """Tokens of prompt and answer together that it was made for."""
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden_size: int
    vocab_size: int
    quantised: bool
    """Whether its matrices are known to be."""
