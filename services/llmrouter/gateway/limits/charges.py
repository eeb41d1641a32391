"""What is asked of a store of counters, and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmrouter.gateway.limits.alerts import Alert
from llmrouter.gateway.limits.resources import NANO, Kind, Resource

__all__ = [
    "Charge",
    "Full",
    "LimitStore",
    "Refused",
    "Reservation",
    "Seen",
    "Told",
    "in_units",
    "settled",
]


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount to be reserved on one counter."""

    counter: str
    """Name of the counter: rule, kind of limit, subject and, of a quota, its period."""
    rule: str
    subject: str
    """Whose use it is, for people, such as `tenant acme`."""
    kind: Kind
    limit: int
    ceiling: int
    """How much of the limit may be used by requests of this priority."""
    amount: int
    period: str = ""
    ends: int = 0
    """End of the period of a quota, milliseconds since the epoch; 0 for others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a counter stands after a reservation, or at a refusal."""

    used: int
    reset: int
    """Milliseconds until nothing is used any more, as far as is known."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved; `settle` it once."""

    id: str
    charges: tuple[Charge, ...]
    marks: tuple[int, ...]
    """One per charge, for the store that made it."""
    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Full:
    """A counter without room."""

    charge: Charge
    seen: Seen
    wait: int | None
    """Milliseconds until there may be; None where the limit never holds as much."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was reserved."""

    full: tuple[Full, ...]
    """At least one."""


Told = Callable[[Alert], None]
"""Takes in that an alert is due."""


class LimitStore(Protocol):
    """Keeps counters. All charges of a reservation are taken together, or none."""

    @property
    def trouble(self) -> str:
        """Why it cannot be relied on now, in one sentence; empty while it can."""
        ...

    async def start(self) -> None:
        """Take up what was kept."""
        ...

    async def close(self) -> None:
        """Keep what is to be kept. Safe to call twice."""
        ...

    async def reserve(
        self, charges: Sequence[Charge], *, tentative: bool = False
    ) -> Reservation | Refused:
        """Reserve, or say what has no room.

        Args:
            charges: What to reserve.
            tentative: Whether less will do where there is no room: no request is refused then, and
                nobody has to hear that a budget is spent.

        Raises:
            RouterError: STORE_FAILED when it cannot be reached.
        """
        ...

    def settle(self, reservation: Reservation, actual: Mapping[Resource, int]) -> None:
        """Have a reservation count for what was used, soon; never waits and never fails.

        Args:
            reservation: As it was given.
            actual: Tokens and billionths of US dollars; none of what is left out. Requests
                count once they are admitted, and streams no longer.
        """
        ...


def settled(charge: Charge, actual: Mapping[Resource, int]) -> int | None:
    """Return what a charge counts for in the end; None where it stays as it was reserved."""
    if charge.kind.resource is Resource.REQUESTS:
        return None
    return 0 if charge.kind.resource is Resource.STREAMS else actual.get(charge.kind.resource, 0)


def in_units(charge: Charge, amount: int) -> float:
    """Return an amount as people count it: dollars for billionths of them."""
    return amount / NANO if charge.kind.resource is Resource.DOLLARS else float(amount)
