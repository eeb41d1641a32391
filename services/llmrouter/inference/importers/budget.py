"""Choosing the highest precision that fits a budget of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from llmrouter.common.errors import invalid
from llmrouter.inference.importers.base import Checkpoint
from llmrouter.inference.importers.footprint import Footprint

__all__ = ["AUTO", "Budget", "Choice", "Estimating", "choose"]

AUTO = "auto"
_BEST_FIRST = ("fp32", "int8", "int4")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a loaded model may take."""

    size_bytes: int
    cache_tokens: int | None = None
    """Whose keys and values are to fit, of all sequences together; None is one whole context."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision, and the arithmetic that led to it."""

    budget: Budget
    footprints: Sequence[Footprint]
    """Of every precision, the highest first."""
    precision: str


@runtime_checkable
class Estimating(Protocol):
    """A checkpoint that knows what its precisions take in memory."""

    def footprint(self, precision: str, cache_tokens: int | None) -> Footprint:
        """Return what a precision takes; None as cache tokens is one whole context."""
        ...


def choose(checkpoint: Checkpoint, budget: Budget) -> Choice:
    """Return the highest precision of a checkpoint that fits.

    Raises:
        RouterError: INVALID_ARGUMENT when none fits, with the least that would, or when the
            checkpoint cannot tell.
    """
    if not isinstance(checkpoint, Estimating):
        known = ", ".join(checkpoint.precisions)
        raise invalid("precision", f"'{AUTO}' is not known of this format; it comes in {known}")
    offered = [one for one in _BEST_FIRST if one in checkpoint.precisions]
    footprints = [checkpoint.footprint(one, budget.cache_tokens) for one in offered]
    for one in footprints:
        if one.total <= budget.size_bytes:
            return Choice(budget, footprints, one.precision)
    least = min(footprints, key=lambda one: one.total)
    raise invalid(
        "memory_budget",
        f"is {budget.size_bytes} bytes; {least.precision} takes {least.total}: weights "
        f"{least.weights}, prepacked {least.prepacked}, cache {least.cache}, workspace "
        f"{least.workspace}. Raise it, or lower the cache",
    )
