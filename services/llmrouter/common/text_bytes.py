"""How much there is to read: what prompts are measured by before anybody has tokenized them."""

from __future__ import annotations

__all__ = ["COUNTED_BYTES", "text_bytes"]

_UNCOUNTED = bytes({*range(0x20), 0x7F, 0xF1, 0xF2} - {*b"\t\n\r"})
COUNTED_BYTES = frozenset({*range(0xF5)} - {*_UNCOUNTED, 0xC0, 0xC1})
"""Bytes that UTF-8 has a use for (RFC 3629), but for those for which tokenizers that keep all other
text often have no token: control codes, and the first byte of the planes of Unicode without any
character (4 to 11)."""


def text_bytes(text: str) -> int:
    """Return how many of the UTF-8 bytes of `text` are in `COUNTED_BYTES`."""
    return len(text.encode().translate(None, _UNCOUNTED))
