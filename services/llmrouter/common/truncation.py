"""What may be taken off a question that is too long, and what was changed for an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Adjustment", "Truncation"]


class Truncation(StrEnum):
    """What becomes of a chat that fits no model's context."""

    OFF = "off"
    """It is refused with CONTEXT_TOO_LONG."""
    AUTO = "auto"
    """Its eldest turns are left out until it fits; then fewer tokens may be generated."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """How what a model was asked differs from what its caller asked."""

    dropped_messages: int = 0
    """Messages of the eldest turns that it did not read."""
    max_tokens: int = 0
    """Tokens that it might generate at most; 0 where the caller's own bound held."""
    low_priority: bool = False
    """Whether it was asked at low priority because another one was over its limit."""
