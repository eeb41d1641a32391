"""Which models stay in memory: the states of a model's life and the choice of who leaves.

Pure: moments, sizes and states are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from llmrouter.inference.models.versions import VersionKey

__all__ = ["ModelState", "Resident", "fits", "idle_since", "next_to_leave"]


class ModelState(StrEnum):
    """Where a version is in its life."""

    UNLOADED = "unloaded"
    """On the disk alone."""
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Running requests finish, then it is unloaded."""
    FAILED = "failed"
    """It could not be loaded."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A version that is ready, as far as it matters for who leaves."""

    key: VersionKey
    memory: int
    """Bytes that it counts for."""
    last_used: float
    """When its last request began or ended, in seconds of the clock."""
    users: int
    """Requests that run on it."""
    pinned: bool
    """Whether it is essential: it never leaves by itself."""


def idle_since(residents: Iterable[Resident], moment: float) -> list[VersionKey]:
    """Return those nobody has used since `moment`, least recently used first."""
    return [one.key for one in _leaving(residents) if not one.users and one.last_used <= moment]


def next_to_leave(residents: Iterable[Resident]) -> VersionKey | None:
    """Return who makes room: of the idle ones the least recently used, else of the busy ones.

    A busy one goes too, once what runs has finished: otherwise models in constant use would keep
    another one out for good. None where all are essential.
    """
    leaving = _leaving(residents)
    return min(leaving, key=lambda one: one.users > 0).key if leaving else None


def fits(residents: Iterable[Resident], needed: int, budget: int) -> bool:
    """Whether `needed` bytes fit into `budget` once all have left that may."""
    return sum(one.memory for one in residents if one.pinned) + needed <= budget


def _leaving(residents: Iterable[Resident]) -> list[Resident]:
    return sorted((one for one in residents if not one.pinned), key=lambda one: one.last_used)
