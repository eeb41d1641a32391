"""Going on with an answer whose model was lost: what is wished, handed over and told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Continuation", "Switched", "Switching"]


class Switching(StrEnum):
    """Who may go on with an answer that breaks off."""

    ANY = "any"
    """Another replica of the same version first, then any model that can."""
    SAME_VERSION = "same-version"
    """Another replica of the same version alone."""
    OFF = "off"
    """Nobody."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """The beginning of an answer, which another service gave."""

    text: str
    """Whole UTF-8 characters; what was sent of it, and nothing else."""
    token_ids: tuple[int, ...] = ()
    """What it was made of, where the same version of the model gave it."""
    tokens: int = 0
    """How many tokens it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """Another replica or model goes on with the answer; between two deltas."""

    from_model: str
    from_version: str
    from_address: str
    model: str
    version: str
    address: str
    reason: str
    """Name of the reason for which the first one was lost."""
    tokens: int
    """Of the answer, which had been sent by then."""
