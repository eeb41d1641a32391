"""UTF-8 bytes of prompt per token, learned per tokenizer: models that share one learn together."""

from __future__ import annotations

from collections import OrderedDict

from llmrouter.selector.statistics import DecayedMean

__all__ = ["BYTES_PER_TOKEN", "TokenizerBook"]

BYTES_PER_TOKEN = 4.0
"""What is believed before anything was observed, and again when evidence has faded."""
_PRIOR_WEIGHT = 2.0
"""Observations that the belief counts for."""
_TEACHING_BYTES = 512
"""Prompts shorter than this say nothing of bytes per token: their chat template outweighs them."""


class TokenizerBook:
    """What is learned of the tokenizers seen last; the longest unseen one is forgotten first.

    Kept are means of tokens per byte, since tokens are to be foretold: one prompt of dashes,
    twenty bytes a token, shall not make all others look short.
    """

    def __init__(self, half_life: float, most: int = 1024) -> None:
        self._half_life = half_life
        self._most = most
        self._means: OrderedDict[str, DecayedMean] = OrderedDict()

    def observe(self, tokenizer: str, prompt_bytes: int, prompt_tokens: int, now: float) -> None:
        """Take in that a prompt of so many bytes has so many tokens, its chat template included."""
        if prompt_tokens <= 0 or prompt_bytes < _TEACHING_BYTES:
            return
        mean = self._means.setdefault(tokenizer, DecayedMean(self._half_life))
        mean.add(prompt_tokens / prompt_bytes, now)
        self._means.move_to_end(tokenizer)
        while len(self._means) > self._most:
            self._means.popitem(last=False)

    def bytes_per_token(self, tokenizer: str, now: float) -> float:
        """Return the believed UTF-8 bytes of prompt per token, at least 1: no token has less."""
        mean = self._means.get(tokenizer)
        if mean is None:
            return BYTES_PER_TOKEN
        return max(1.0, 1.0 / mean.believed(now, 1.0 / BYTES_PER_TOKEN, _PRIOR_WEIGHT))

    def __len__(self) -> int:
        return len(self._means)
