"""How fast a kept answer is streamed, as a caller may wish."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_TOKENS_PER_SECOND", "MIN_TOKENS_PER_SECOND", "ReplayPace"]

MIN_TOKENS_PER_SECOND = 0.1
MAX_TOKENS_PER_SECOND = 10_000.0


@dataclass(frozen=True, slots=True)
class ReplayPace:
    """A pace for the stream of a kept answer."""

    tokens_per_second: float | None = None
    """Those of all choices together, 0.1 to 10,000, the first text at once; None is the pace of
    the answer's generation."""
