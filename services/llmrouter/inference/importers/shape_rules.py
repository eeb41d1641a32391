"""What sizes the operators of a graph take."""

from __future__ import annotations

from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.quantise import BLOCK

__all__ = ["broken_rule"]

_HEAD_MULTIPLE = 16
"""GroupQueryAttention on the CPU takes head sizes that are multiples of this."""
_MAX_ROTARY = 1 << 26
"""Angles of all positions together: a quarter of a gigabyte, a context of a million at size 64."""


def broken_rule(model: Architecture) -> str | None:
    """Return what is wrong with the sizes of a model, to follow "has"; None where nothing is."""
    multiples = (
        ("a head size", model.head_size, _HEAD_MULTIPLE),
        ("a width", model.hidden, BLOCK),
        ("a feed-forward width", model.feed_forward, BLOCK),
        ("a query width", model.query_width, BLOCK),
    )
    for what, value, multiple in multiples:
        if value % multiple or not value:
            return f"{what} of {value}; multiples of {multiple} are supported"
    if model.heads % model.kv_heads:
        return f"{model.heads} heads for {model.kv_heads} key/value heads, no multiple"
    if model.context * model.head_size > _MAX_ROTARY:
        return f"an absurd context of {model.context} tokens"
    return None
