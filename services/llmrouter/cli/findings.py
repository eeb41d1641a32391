"""What a check found: whether it holds, one sentence, and what to do where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State"]


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Nothing is wrong, and something is worth knowing."""
    WARNING = "warning"
    """It works, and something should be done."""
    FAILED = "failed"
    """It does not work like that."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence of `doctor`."""

    check: str
    """What was looked at: `python`, `store` and so on."""
    state: State
    said: str
    remedy: str = ""
    """What to do; empty where nothing is to be done."""
