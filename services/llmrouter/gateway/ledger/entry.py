"""What is kept of one request, and the sums of days. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

__all__ = ["COLUMNS", "DayKey", "Entry", "Sums", "sums_by_day"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One request; never its text."""

    time: float
    """Seconds since the epoch, at its end."""
    request_id: str
    tenant: str
    user: str
    credential: str
    """What proved who asked: a key's id, never the key."""
    operation: str
    """`chat`, `text_completion` or `embeddings`; empty where it was refused unread."""
    model: str
    """That answered; empty where none did."""
    version: str
    prompt_tokens: int
    """Of all that were tried; of a cached answer, those of its generation."""
    cached_prompt_tokens: int
    completion_tokens: int
    cost: int
    """Billionths of a US dollar, of all that were tried; 0 for a cached answer."""
    cache: str
    """What the cache did."""
    cached: bool
    """Whether nothing was generated for it."""
    outcome: str
    """`OK`, or the reason of its failure."""

    @property
    def is_row(self) -> bool:
        """Whether a row is kept of it; refusals that cost nothing are counted in sums alone.

        Else whoever is refused without end would push out what others have paid for.
        """
        return self.outcome == "OK" or bool(self.prompt_tokens or self.completion_tokens)

    @property
    def day(self) -> str:
        """The day of it, in UTC."""
        return f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%d}"


COLUMNS = tuple(Entry.__dataclass_fields__)
"""Names of the columns of a row, in order."""


class DayKey(NamedTuple):
    """Whose sums of a day they are."""

    day: str
    tenant: str
    user: str
    model: str


@dataclass(slots=True)
class Sums:
    """What several requests come to."""

    requests: int = 0
    cached: int = 0
    """Of them, those for which nothing was generated."""
    failed: int = 0
    """Of them, those that got no whole answer."""
    prompt_tokens: int = 0
    """That were computed or paid for; cached answers have none."""
    completion_tokens: int = 0
    cost: int = 0
    """Billionths of a US dollar."""

    def add(self, entry: Entry) -> None:
        """Take in one request."""
        self.requests += 1
        self.cached += entry.cached
        self.failed += entry.outcome != "OK"
        if not entry.cached:
            self.prompt_tokens += entry.prompt_tokens
            self.completion_tokens += entry.completion_tokens
        self.cost += entry.cost

    def absorb(self, other: Sums) -> None:
        """Take in what others come to."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def sums_by_day(entries: Iterable[Entry]) -> Mapping[DayKey, Sums]:
    """Return the sums of requests by day, tenant, user and model."""
    found: dict[DayKey, Sums] = {}
    for entry in entries:
        key = DayKey(entry.day, entry.tenant, entry.user, entry.model)
        found.setdefault(key, Sums()).add(entry)
    return found
