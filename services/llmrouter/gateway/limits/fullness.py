"""How full limits are, as seen with every reservation: the fullest count of each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmrouter.gateway.limits.charges import Charge, Seen
from llmrouter.gateway.limits.resources import LIMITS

__all__ = ["Fullest", "Fullness"]

_NAMES = {kind: name for name, kind in LIMITS.items()}


@dataclass(frozen=True, slots=True)
class Fullest:
    """The count of a limit that is nearest to it."""

    rule: str
    limit: str
    """As its setting is called, such as `tokens_per_minute`."""
    subject: str
    share: float
    """Used and reserved of the limit; 0 or more."""
    counter: str
    until: float
    """When nothing of it is used any more, seconds of the clock."""


class Fullness:
    """Keeps one count per rule and limit, however many subjects they have.

    A count is known as of its last request: one that nobody asks of any more stands until all of it
    is free again.
    """

    def __init__(self) -> None:
        self._fullest: dict[tuple[str, str], Fullest] = {}

    def note(self, charges: Sequence[Charge], seen: Sequence[Seen], now: float) -> None:
        """Take in how counters stand.

        Args:
            charges: What was reserved, or refused.
            seen: How each counter stands after that.
            now: Seconds since the epoch.
        """
        for charge, stand in zip(charges, seen, strict=True):
            limit = _NAMES[charge.kind]
            share = stand.used / charge.limit if charge.limit else 1.0
            before = self._fullest.get((charge.rule, limit))
            gone = before is None or before.until <= now or before.counter == charge.counter
            if gone or (before is not None and share >= before.share):
                self._fullest[charge.rule, limit] = Fullest(
                    charge.rule,
                    limit,
                    charge.subject,
                    share,
                    charge.counter,
                    now + stand.reset / 1000,
                )

    def now(self, now: float) -> Iterator[Fullest]:
        """Yield the fullest count of each limit that is used at all, in order."""
        for _, one in sorted(self._fullest.items()):
            if one.until > now:
                yield one
