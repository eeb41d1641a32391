"""What an importer knows of a decoder-only checkpoint before its weights are read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRECISIONS", "Architecture"]

PRECISIONS = ("int8", "int4", "fp32")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of a Llama-style decoder: RMS norm, rotary attention, gated feed-forward."""

    name: str
    vocab_size: int
    context: int
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    rope_base: float
    norm_epsilon: float
    rope_interleaved: bool
    """Whether q and k pair neighbours (llama GGUFs) rather than halves (Hugging Face)."""
    tied: bool
    """Whether the head is the embedding."""
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
