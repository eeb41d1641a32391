"""Counters in the memory of one gateway, kept in a file over restarts."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from llmrouter.gateway.limits.alerts import Alert, AlertKind
from llmrouter.gateway.limits.charges import (
    Charge,
    Full,
    Refused,
    Reservation,
    Seen,
    Told,
    in_units,
    settled,
)
from llmrouter.gateway.limits.counters import (
    CalendarCounter,
    SlidingCounter,
    StreamCounter,
    counter_for,
)
from llmrouter.gateway.limits.quota_file import QuotaFile
from llmrouter.gateway.limits.resources import Resource

__all__ = ["MemoryStore", "alert_of", "milliseconds"]

_MOST = 200_000
"""Counters; each takes some 300 bytes. Beyond, those used least recently are forgotten."""
_SWEPT = 2
"""Counters looked at with every reservation, whether they are idle."""


def milliseconds() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def alert_of(kind: AlertKind, charge: Charge, spent: int) -> Alert:
    """Return the news of a budget of which `spent` is spent."""
    return Alert(
        kind,
        charge.rule,
        charge.subject,
        charge.kind.of(charge.limit),
        charge.period,
        in_units(charge, spent),
        in_units(charge, charge.limit),
    )


class MemoryStore:
    """Counts exactly: everything happens in one step of the event loop.

    What was reserved when the gateway crashed is free again; what was settled counts on.

    Args:
        told: Hears of alerts.
        file: Keeps windows of a minute and more over restarts; None keeps nothing.
        clock: Milliseconds since the epoch.
        most: Counters at most.
    """

    def __init__(
        self,
        told: Told,
        file: QuotaFile | None = None,
        clock: Callable[[], int] = milliseconds,
        most: int = _MOST,
    ) -> None:
        self._told, self._file, self._clock, self._most = told, file, clock, most
        self._counters: OrderedDict[str, SlidingCounter | CalendarCounter | StreamCounter] = (
            OrderedDict()
        )
        self._made = 0

    @property
    def trouble(self) -> str:
        """What is lost at a restart, and why; empty while nothing is."""
        return "" if self._file is None else self._file.trouble

    async def start(self) -> None:
        """Take up what the file has."""
        if self._file is not None:
            self._counters.update(await self._file.start(self._clock()))

    async def close(self) -> None:
        """Write what the file does not have yet. Safe to call twice."""
        if self._file is not None:
            await self._file.close()

    async def reserve(
        self, charges: Sequence[Charge], *, tentative: bool = False
    ) -> Reservation | Refused:
        """Reserve, or say what has no room; as `LimitStore.reserve`."""
        now = self._clock()
        counters = [self._counter(charge) for charge in charges]
        full = tuple(
            Full(charge, self._seen(counter, now), _wait(counter, charge, now))
            for charge, counter in zip(charges, counters, strict=True)
            if counter.used(now) + charge.amount > charge.ceiling
        )
        if full:
            for one in full:
                self._alert(one.charge, refused=not tentative)
            return Refused(full)
        marks = tuple(
            counter.take(now, charge.amount)
            for charge, counter in zip(charges, counters, strict=True)
        )
        for charge, counter in zip(charges, counters, strict=True):
            self._keep(charge, counter)
        self._made += 1
        seen = tuple(self._seen(counter, now) for counter in counters)
        self._sweep(now)
        return Reservation(str(self._made), tuple(charges), marks, seen)

    def settle(self, reservation: Reservation, actual: Mapping[Resource, int]) -> None:
        """Have a reservation count for what was used."""
        now = self._clock()
        for charge, mark in zip(reservation.charges, reservation.marks, strict=True):
            used = settled(charge, actual)
            if used is None:
                continue
            counter = self._counter(charge)
            counter.settle(now, mark, charge.amount, used)
            self._keep(charge, counter)
            self._alert(charge)

    def _counter(self, charge: Charge) -> SlidingCounter | CalendarCounter | StreamCounter:
        counter = self._counters.get(charge.counter)
        if counter is None:
            counter = counter_for(charge.kind.window, charge.ends)
            self._counters[charge.counter] = counter
        self._counters.move_to_end(charge.counter)
        return counter

    def _sweep(self, now: int) -> None:
        """Forget some of the counters that count nothing, and what is beyond the bound."""
        for _ in range(min(_SWEPT, len(self._counters))):
            name, counter = next(iter(self._counters.items()))
            if counter.idle(now) or (len(self._counters) > self._most and _loose(counter)):
                del self._counters[name]
            else:
                self._counters.move_to_end(name)

    @staticmethod
    def _seen(counter: SlidingCounter | CalendarCounter | StreamCounter, now: int) -> Seen:
        return Seen(counter.used(now), counter.reset(now))

    def _keep(
        self, charge: Charge, counter: SlidingCounter | CalendarCounter | StreamCounter
    ) -> None:
        if self._file is not None and not isinstance(counter, StreamCounter):
            self._file.keep(charge.counter, counter)

    def _alert(self, charge: Charge, *, refused: bool = False) -> None:
        counter = self._counters.get(charge.counter)
        if not isinstance(counter, CalendarCounter):
            return
        for kind in counter.raise_alerts(charge.limit, refused=refused):
            self._keep(charge, counter)
            self._told(alert_of(kind, charge, counter.spent))


def _loose(counter: SlidingCounter | CalendarCounter | StreamCounter) -> bool:
    """Whether nothing is reserved that a settlement would miss."""
    return isinstance(counter, SlidingCounter) or not counter.held


def _wait(
    counter: SlidingCounter | CalendarCounter | StreamCounter, charge: Charge, now: int
) -> int | None:
    if charge.amount > charge.ceiling:
        return None
    return counter.wait(now, charge.amount, charge.ceiling)
