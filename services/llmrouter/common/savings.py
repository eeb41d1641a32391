"""What the cache spared, by tenant, model, level and kind of hit, in a bounded table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from llmrouter.common.generation import CacheLevel

__all__ = ["HitKind", "Saved", "SavingsTable", "Spared"]

_MOST = 4_096
_OTHERS = "*"


class HitKind(StrEnum):
    """How an answer was found."""

    EXACT = "exact"
    """The same question, answered before."""
    JOINED = "joined"
    """The same question, being answered at that moment."""
    STALE = "stale"
    """The same question, whose answer had expired: no model could give another."""


class Saved(NamedTuple):
    """What hits have in common."""

    tenant: str
    model: str
    level: CacheLevel | None
    """None for answers that were in flight."""
    kind: HitKind


@dataclass(frozen=True, slots=True)
class Spared:
    """What such hits spared."""

    hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """US dollars."""
    seconds: float = 0.0
    """Of generation."""

    def __add__(self, other: Spared) -> Spared:
        return Spared(
            self.hits + other.hits,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
            self.seconds + other.seconds,
        )


class SavingsTable:
    """Sums; past a bound, new tenants and models are gathered under `*`."""

    def __init__(self) -> None:
        self._rows: dict[Saved, Spared] = {}

    def add(self, saved: Saved, spared: Spared) -> None:
        """Count hits."""
        if saved not in self._rows and len(self._rows) >= _MOST:
            saved = saved._replace(tenant=_OTHERS, model=_OTHERS)
        self._rows[saved] = self._rows.get(saved, Spared()) + spared

    def rows(self) -> Iterable[tuple[Saved, Spared]]:
        """Return the sums, the most hits first."""
        return sorted(self._rows.items(), key=lambda row: -row[1].hits)

    def drain(self) -> list[tuple[Saved, Spared]]:
        """Return the sums and begin again."""
        rows, self._rows = list(self._rows.items()), {}
        return rows
