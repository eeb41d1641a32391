"""How a caller's limits stand, and the names under which callers are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Standing", "Standings"]


@dataclass(slots=True)
class Standing:
    """What is left of one limit."""

    resource: str
    """`requests`, `tokens`, `dollars` or `streams`."""
    limit: float
    remaining: float
    reset: float
    """Seconds until all of it is there again, as far as is known."""

    @property
    def share(self) -> float:
        """How much of it is left, to 1."""
        return self.remaining / self.limit if self.limit else 0.0


class Standings:
    """Of every resource the limit of which least is left, as one request met it."""

    __slots__ = ("_tightest",)

    def __init__(self) -> None:
        self._tightest: dict[str, Standing] = {}

    def note(self, standing: Standing) -> None:
        """Take in how one limit stands."""
        known = self._tightest.get(standing.resource)
        if known is None or standing.share < known.share:
            self._tightest[standing.resource] = standing

    def left(self, resource: str) -> float | None:
        """Return what is left of the tightest limit on a resource; None where none is known."""
        known = self._tightest.get(resource)
        return None if known is None else known.remaining

    def told(self) -> Iterator[tuple[str, str]]:
        """Give metadata keys, or headers, and their values: OpenAI's names, and two more kinds."""
        for name, one in self._tightest.items():
            yield f"x-ratelimit-limit-{name}", _number(one.limit)
            yield f"x-ratelimit-remaining-{name}", _number(max(0.0, one.remaining))
            yield f"x-ratelimit-reset-{name}", _time(one.reset)


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _time(seconds: float) -> str:
    """Return a time as OpenAI writes them: `120ms`, `1.5s`, `6m0s`, `23h59m59s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 60:
        return f"{_number(round(seconds, 3))}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
