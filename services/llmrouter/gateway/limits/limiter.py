"""Holds requests to their limits: reserves before, settles after, refuses what has no room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.common.standing import Standing
from llmrouter.gateway.limits.charges import (
    Charge,
    LimitStore,
    Refused,
    Reservation,
    Seen,
    in_units,
    settled,
)
from llmrouter.gateway.limits.fullness import Fullest, Fullness
from llmrouter.gateway.limits.memory_store import milliseconds
from llmrouter.gateway.limits.refusals import refusal
from llmrouter.gateway.limits.resources import Resource
from llmrouter.gateway.limits.rules import RuleBook

__all__ = ["Hold", "Limiter"]

_NOTHING: Mapping[Resource, int] = MappingProxyType({})


class Hold:
    """What one request holds of its limits; settle it however the request ends."""

    def __init__(
        self, store: LimitStore, reservation: Reservation | None, noted: list[Standing]
    ) -> None:
        self._store, self._reservation, self._noted = store, reservation, noted

    def settle(self, actual: Mapping[Resource, int] = _NOTHING) -> None:
        """Have it count for what was used: tokens, and billionths of US dollars. Once."""
        reservation, self._reservation = self._reservation, None
        if reservation is None:
            return
        self._store.settle(reservation, actual)
        # What was reserved and not used is there again, for whoever is told at the end.
        for one, charge in zip(self._noted, reservation.charges, strict=True):
            used = settled(charge, actual)
            if used is not None:
                one.remaining += in_units(charge, charge.amount - used)


class Limiter:
    """Applies rules.

    Args:
        rules: Those configured.
        store: Counts.
        open_on_failure: Whether requests are let in, uncounted, while the store cannot be used.
        clock: Milliseconds since the epoch.
    """

    def __init__(
        self,
        rules: RuleBook,
        store: LimitStore,
        *,
        open_on_failure: bool = True,
        clock: Callable[[], int] = milliseconds,
    ) -> None:
        self._rules, self._store, self._clock = rules, store, clock
        self._open = open_on_failure
        self._fullness = Fullness()

    def limits(self, *resources: Resource, by_model: bool = False) -> bool:
        """Whether any rule limits one of the resources; as `RuleBook.limits`."""
        return self._rules.limits(frozenset(resources), by_model=by_model)

    async def reserve(
        self,
        context: RequestContext,
        amounts: Mapping[Resource, int],
        *,
        model: str | None = None,
        tentative: bool = False,
    ) -> Hold:
        """Reserve what a request may need of every limit, or of none.

        Args:
            context: Who asks; its bill is told how the limits stand.
            amounts: What may be used.
            model: As `RuleBook.charges` takes it.
            tentative: As `LimitStore.reserve` takes it.

        Raises:
            RouterError: RATE_LIMITED or QUOTA_EXHAUSTED; STORE_FAILED while the store cannot be
                used and the settings refuse requests then.
        """
        charges = self._rules.charges(context, amounts, self._clock(), model=model)
        if not charges:
            return Hold(self._store, None, [])
        try:
            found = await self._store.reserve(charges, tentative=tentative)
        except RouterError:
            if self._open:
                return Hold(self._store, None, [])
            raise
        if isinstance(found, Refused):
            full = found.full
            self._full([one.charge for one in full], [one.seen for one in full])
            _note([_standing(one.charge, one.seen) for one in found.full], context)
            raise refusal(found)
        self._full(found.charges, found.seen)
        noted = [_standing(*one) for one in zip(found.charges, found.seen, strict=True)]
        _note(noted, context)
        return Hold(self._store, found, noted)

    def fullest(self) -> list[Fullest]:
        """Return the fullest count of each limit that is used, as of its last request."""
        return list(self._fullness.now(self._clock() / 1000))

    def _full(self, charges: Sequence[Charge], seen: Sequence[Seen]) -> None:
        self._fullness.note(charges, seen, self._clock() / 1000)


def _note(standings: list[Standing], context: RequestContext) -> None:
    if context.bill is not None:
        for one in standings:
            context.bill.standings.note(one)


def _standing(charge: Charge, seen: Seen) -> Standing:
    return Standing(
        charge.kind.resource.value,
        in_units(charge, charge.limit),
        in_units(charge, charge.limit - seen.used),
        seen.reset / 1000,
    )
