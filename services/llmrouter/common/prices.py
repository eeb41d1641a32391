"""What tokens cost."""

from __future__ import annotations

from typing import NamedTuple

from llmrouter.common.usage import Usage

__all__ = ["FREE", "Prices"]

_PER = 1e6


class Prices(NamedTuple):
    """US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0
    cached: float = 0.0
    """Of prompt tokens that are not computed again."""
    assumed: bool = False
    """Whether the configuration leaves one out."""

    def cost(self, usage: Usage) -> float:
        """Return what an answer cost in US dollars."""
        cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
        computed = usage.prompt_tokens - cached
        return (
            computed * self.input + cached * self.cached + usage.completion_tokens * self.output
        ) / _PER


FREE = Prices()
