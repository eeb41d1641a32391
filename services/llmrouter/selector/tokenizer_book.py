"""UTF-8 bytes of prompt per token, learned per tokenizer: models that share one learn together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrouter.selector.evidence import PRIOR_WEIGHT, Array, EvidenceTable, Key

__all__ = ["BYTES_PER_TOKEN", "TokenizerBook", "tokenizer_key"]

BYTES_PER_TOKEN = 4.0
"""What is believed before anything was observed, and again when evidence has faded."""
_PRIOR = np.array([[PRIOR_WEIGHT / BYTES_PER_TOKEN], [PRIOR_WEIGHT]])
_TEACHING_BYTES = 512
"""Prompts shorter than this say nothing of bytes per token: their chat template outweighs them."""


def tokenizer_key(tokenizer: str) -> Key:
    """Return the key of what is learned of a tokenizer."""
    return tokenizer, "", ""


class TokenizerBook:
    """What is learned of the tokenizers seen last; the longest unseen one is forgotten first.

    Kept are means of tokens per byte, since tokens are to be foretold: one prompt of dashes,
    twenty bytes a token, shall not make all others look short.
    """

    def __init__(self, half_life: float, most: int = 1024) -> None:
        """Make an empty book.

        Args:
            half_life: Seconds after which an observation counts half.
            most: Tokenizers remembered at most.
        """
        self.evidence = EvidenceTable(half_life, most, measures=1)
        """Tokens per byte by `tokenizer_key`."""

    def observe(self, tokenizer: str, prompt_bytes: int, prompt_tokens: int, now: float) -> None:
        """Take in that a prompt of so many bytes has so many tokens, its chat template included.

        More tokens than bytes cannot be, whoever counted them.
        """
        if prompt_tokens > 0 and prompt_bytes >= _TEACHING_BYTES:
            tokens_per_byte = min(1.0, prompt_tokens / prompt_bytes)
            self.evidence.add(tokenizer_key(tokenizer), [tokens_per_byte], now)

    def bytes_per_token(self, tokenizer: str, now: float) -> float:
        """Return the believed UTF-8 bytes of prompt per token, at least 1: no token has less."""
        row = self.evidence.row(tokenizer_key(tokenizer))
        return float(self.believed(np.array([row]), now)[0])

    def believed(self, rows: NDArray[np.intp], now: float) -> Array:
        """Return the same for rows of `evidence`."""
        data, fade = self.evidence.read(rows, now)
        # As `Evidence.believed`, turned over.
        faded = data[:2] * fade
        faded += _PRIOR
        believed: Array = faded[1] / faded[0]
        return np.maximum(1.0, believed)

    def __len__(self) -> int:
        return len(self.evidence)
