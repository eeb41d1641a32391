"""Choosing the highest precision that fits a budget of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, runtime_checkable

from llmrouter.common.errors import invalid
from llmrouter.common.sizes import size_text
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.importers.base import Checkpoint
from llmrouter.inference.importers.footprint import Footprint
from llmrouter.inference.models.counted import default_cache_bytes

__all__ = ["AUTO", "Budget", "Choice", "Estimating", "choose"]

AUTO = "auto"
_BEST_FIRST = ("fp32", "int8", "int4")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a loaded model may count for in a service that has no more memory for all its models."""

    size_bytes: int
    cache_tokens: int | None = None
    """Whose keys and values are to fit, of all running sequences together; None takes what the
    service gives them."""
    options: BackendOptions = field(default_factory=BackendOptions)
    """How the service runs models."""

    @property
    def served(self) -> BackendOptions:
        """The options of a service with this memory."""
        cache = self.options.cache_bytes or default_cache_bytes(self.size_bytes)
        return replace(self.options, cache_bytes=cache)


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision, and the arithmetic that led to it."""

    budget: Budget
    footprints: Sequence[Footprint]
    """Of every precision, the highest first."""
    precision: str


@runtime_checkable
class Estimating(Protocol):
    """A checkpoint that knows what its precisions will count for."""

    def footprints(self, cache_tokens: int | None, options: BackendOptions) -> Sequence[Footprint]:
        """Return what each of its precisions will count for, in any order.

        Args:
            cache_tokens: Tokens, of all sequences together, whose keys and values are held while
                they run; None takes the memory that `options` gives them.
            options: How the service runs models.
        """
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
    told = {one.precision: one for one in checkpoint.footprints(budget.cache_tokens, budget.served)}
    footprints = [told[one] for one in _BEST_FIRST if one in told]
    for one in footprints:
        if one.total <= budget.size_bytes:
            return Choice(budget, footprints, one.precision)
    least = min(footprints, key=lambda one: one.total)
    parts = ", ".join(f"{part} {size_text(size)}" for part, size in asdict(least.counted).items())
    given, needed = size_text(budget.size_bytes), size_text(least.total)
    if given == needed:  # rounded they would contradict the refusal
        given, needed = f"{budget.size_bytes:,} B", f"{least.total:,} B"
    raise invalid(
        "memory_budget",
        f"is {given}; {least.precision} takes {needed}: {parts}. Raise it, or lower what the "
        "service keeps: --cache-tokens, inference.cache_mib, parked_cache_mib, prefix_cache_mib or "
        "slots",
    )
