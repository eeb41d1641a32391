"""How likely the tokens of an answer were."""

from __future__ import annotations

import builtins
from dataclasses import dataclass

__all__ = ["TokenLogprob", "TopLogprob"]


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the most likely tokens in some place."""

    token_id: int
    logprob: float
    """Natural logarithm of its probability, as in `TokenLogprob`."""
    bytes: builtins.bytes
    """What it stands for; need not be whole UTF-8 characters."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of an answer and how likely it was."""

    token_id: int
    logprob: float
    """Natural logarithm of the softmax of the logits before any sampling option."""
    bytes: builtins.bytes
    """What it stands for; need not be whole UTF-8 characters."""
    top: tuple[TopLogprob, ...] = ()
    """The most likely tokens in its place, in order."""
