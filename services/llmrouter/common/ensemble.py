"""Several models asked at once: what a caller may wish of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Election", "EnsembleWish"]


class Election(StrEnum):
    """How the best of several models' answers is found."""

    VOTE = "vote"
    """The answer that most of them give."""
    CONFIDENCE = "confidence"
    """The answer whose tokens were the most probable."""
    JUDGE = "judge"
    """The answer that a judge prefers."""


@dataclass(frozen=True, slots=True)
class EnsembleWish:
    """Several models that answer side by side."""

    models: int
    """2 to 8."""
    election: Election = Election.VOTE
    judge: str = ""
    """Model that judges; only for `Election.JUDGE`, which needs one."""
