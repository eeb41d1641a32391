"""Circuit breakers: an endpoint that fails again and again is left alone for a while.

    CLOSED ──failures in a row──> OPEN ──time──> HALF_OPEN ──successes in a row──> CLOSED
                                   ^───────any failure──────────┘

Pure state machines: time is passed in as seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmrouter.selector.evidence import Key
from llmrouter.selector.settings import BreakerSettings

__all__ = ["Breaker", "BreakerBook", "BreakerState", "opened_record"]


_UNREACHED = "UPSTREAM_UNAVAILABLE"
_RECONNECTING_SECONDS = 2.0
"""How long a call to a service that is back may still find its old connection gone: channels wait
half a second at most between two attempts, and an attempt takes its time (`dialling.py`)."""
_PROBE_SECONDS = 10.0
"""How long a probe stands in the way of the next; a slow one lets a second through."""


class BreakerState(StrEnum):
    """Whether requests are let through."""

    CLOSED = "closed"
    """They are."""
    OPEN = "open"
    """They are not."""
    HALF_OPEN = "half-open"
    """A few, to see whether they succeed again."""


@dataclass(slots=True)
class Breaker:
    """The breaker of one endpoint."""

    settings: BreakerSettings
    failures: int = 0
    """In a row."""
    successes: int = 0
    """In a row, while half open."""
    last_error: str = ""
    _opened: float | None = None
    """When it opened last; None while closed."""
    _half_open: bool = False
    _probes: tuple[float, ...] = ()
    """When the probes began whose outcome is not known yet."""

    def state(self, now: float) -> BreakerState:
        """Return its state at `now`."""
        if self._opened is None:
            return BreakerState.CLOSED
        if self._half_open or self.retry_in(now) <= 0:
            return BreakerState.HALF_OPEN
        return BreakerState.OPEN

    @property
    def opened(self) -> bool:
        """Whether it is open or half open."""
        return self._opened is not None

    def retry_in(self, now: float) -> float:
        """Return the seconds until it lets probes through; 0 unless open."""
        if self._opened is None or self._half_open:
            return 0.0
        # Where the clock was put back, wait no longer than was meant.
        self._opened = min(self._opened, now)
        return max(0.0, self.settings.open_seconds - (now - self._opened))

    def allows(self, now: float) -> bool:
        """Whether one more request may go there."""
        state = self.state(now)
        if state is BreakerState.HALF_OPEN:
            return len(self._running(now)) < self.settings.probes
        return state is BreakerState.CLOSED

    def begin(self, now: float) -> None:
        """Take in that a request was sent there: while half open it is a probe."""
        if self.state(now) is BreakerState.HALF_OPEN:
            self._half_open = True
            self._probes = (*self._running(now), now)

    def succeed(self, now: float) -> None:
        """Take in that a request was answered."""
        state = self.state(now)
        self.failures = 0
        if state is BreakerState.HALF_OPEN:
            self._half_open = True
            self._probes = self._running(now)[1:]
            self.successes += 1
            if self.successes >= self.settings.successes:
                self.reset()

    def fail(self, reason: str, now: float) -> None:
        """Take in that a request failed by the endpoint's fault."""
        state = self.state(now)
        self.failures += 1
        self.last_error = reason
        if state is BreakerState.OPEN:
            return  # A request from before it opened says nothing new.
        if state is BreakerState.HALF_OPEN or self.failures >= self.settings.failures:
            self.open_since(now)

    def open_since(self, opened: float) -> None:
        """Open it as of `opened`."""
        self._opened, self._half_open, self.successes, self._probes = opened, False, 0, ()

    def abandon(self, now: float) -> None:
        """Take in that a request ended without telling anything: its probe is free again."""
        self._probes = self._running(now)[1:]

    def forgive(self) -> None:
        """Close it, so that one more failure opens it again."""
        self.reset()
        self.failures = self.settings.failures - 1

    def reset(self) -> None:
        """Close it."""
        self.failures = self.successes = 0
        self._opened, self._half_open, self._probes = None, False, ()

    def _running(self, now: float) -> tuple[float, ...]:
        """Return the probes that may still end; one without outcome for so long is lost.

        A plan that was answered from the cache, or never carried out, has none.
        """
        longest = min(self.settings.open_seconds, _PROBE_SECONDS)
        return tuple(began for began in self._probes if -longest < now - began < longest)


def opened_record(key: Key, breaker: Breaker, wall: float) -> dict[str, Any]:
    """Return what is kept of a breaker that opened at `wall`, seconds since the epoch."""
    model, version, address = key
    return {
        "model": model,
        "version": version,
        "address": address,
        "opened": wall,
        "failures": breaker.failures,
        "last_error": breaker.last_error,
    }


class BreakerBook:
    """The breakers of all endpoints; those without any failure take no memory."""

    def __init__(
        self,
        settings: BreakerSettings,
        most: int = 16_384,
        changed: Callable[[Key, Breaker | None], None] = lambda key, breaker: None,
    ) -> None:
        """Make a book in which every breaker is closed.

        Args:
            settings: When breakers open and close.
            most: Troubled endpoints remembered; the one that failed longest ago goes first.
            changed: Told whenever a breaker opened (with it) or closed (with None).
        """
        self._settings = settings
        self._most = most
        self._changed = changed
        self._troubled: dict[Key, Breaker] = {}
        self._back: dict[str, float] = {}
        """When addresses came back, of those that did."""

    def succeed(self, key: Key, now: float) -> bool:
        """Take in that an endpoint answered; return whether that closed its breaker."""
        breaker = self._troubled.get(key)
        if breaker is None:
            return False
        before = breaker.state(now)
        breaker.succeed(now)
        if breaker.state(now) is not BreakerState.CLOSED:
            return False
        del self._troubled[key]
        closed = before is not BreakerState.CLOSED
        if closed:
            self._changed(key, None)
        return closed

    def fail(self, key: Key, reason: str, now: float) -> None:
        """Take in that an endpoint failed by its own fault."""
        since = now - self._back.get(key[2], -math.inf)
        if reason == _UNREACHED and 0 <= since < _RECONNECTING_SECONDS:
            self.abandon(key, now)  # The caller's connection is of the time before.
            return
        breaker = self._troubled.pop(key, None) or Breaker(self._settings)
        before = breaker.state(now)
        breaker.fail(reason, now)
        self._troubled[key] = breaker
        if breaker.state(now) is BreakerState.OPEN and before is not BreakerState.OPEN:
            self._changed(key, breaker)
        if len(self._troubled) > self._most:
            del self._troubled[next(iter(self._troubled))]

    def begin(self, key: Key, now: float) -> None:
        """Take in that a request goes to an endpoint."""
        if self._troubled and key in self._troubled:
            self._troubled[key].begin(now)

    def abandon(self, key: Key, now: float) -> None:
        """Take in that a request to an endpoint ended without telling anything of it."""
        if key in self._troubled:
            self._troubled[key].abandon(now)

    def blocked(self, now: float) -> list[Key]:
        """Return the endpoints that no further request may go to."""
        return [key for key, one in self._troubled.items() if not one.allows(now)]

    def probing(self, now: float) -> list[Key]:
        """Return the endpoints whose breaker is half open."""
        half_open = BreakerState.HALF_OPEN
        return [key for key, one in self._troubled.items() if one.state(now) is half_open]

    def state(self, key: Key, now: float) -> BreakerState:
        """Return the state of one endpoint's breaker."""
        breaker = self._troubled.get(key)
        return BreakerState.CLOSED if breaker is None else breaker.state(now)

    def reset(self, model: str = "", address: str = "") -> int:
        """Close the breakers of a model, an address, both or all; return how many there were."""
        matching = [
            key for key in self._troubled
            if model in {"", key[0]} and address in {"", key[2]}
        ]  # fmt: skip
        for key in matching:
            del self._troubled[key]
            self._changed(key, None)
        return len(matching)

    def returned(self, address: str, now: float) -> None:
        """Take in that a service is back that did not answer: its models get a new chance."""
        self._back = {
            known: since
            for known, since in self._back.items()
            if now - since < _RECONNECTING_SECONDS
        } | {address: now}
        back = [
            key for key, one in self._troubled.items() if key[2] == address and one.opened
        ]  # fmt: skip
        for key in back:
            breaker = self._troubled[key]
            breaker.forgive()
            if not breaker.failures:
                del self._troubled[key]
            self._changed(key, None)

    def restore(self, documents: Mapping[str, dict[str, Any]], now: float, wall: float) -> None:
        """Open the breakers that were open before a restart, for the rest of their time.

        One whose time is over is closed and dropped: as probes, the first requests after a restart
        would be let through a few at a time, and the endpoint may be long gone.

        Args:
            documents: What `opened_record` gave, whatever the keys.
            now: Seconds of the clock that the breakers are asked with.
            wall: Seconds since the epoch; where it was put back, the whole time passes again.
        """
        for data in documents.values():
            key = self._reopen(data, now, wall)
            if key is not None:
                self._changed(key, None)

    def take(self, key: Key, data: Mapping[str, Any] | None, now: float, wall: float) -> None:
        """Take in that another selector's breaker of an endpoint opened, or closed with None."""
        if data is None:
            self._troubled.pop(key, None)
        else:
            # Where its time is over, whoever opened it probes by now and tells what comes of it.
            self._reopen(data, now, wall)

    def _reopen(self, data: Mapping[str, Any], now: float, wall: float) -> Key | None:
        """Open a breaker for the rest of its time; return its key if that is over."""
        try:
            key = (str(data["model"]), str(data["version"]), str(data["address"]))
            since = max(0.0, wall - float(data["opened"]))
            breaker = Breaker(self._settings, int(data["failures"]), 0, str(data["last_error"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        if since >= self._settings.open_seconds:
            return key
        breaker.open_since(now - since)
        self._troubled[key] = breaker
        return None

    def troubled(self) -> Iterator[tuple[Key, Breaker]]:
        """Yield the endpoints with failures in a row or a breaker that is not closed, in order."""
        return iter(sorted(self._troubled.items(), key=lambda one: one[0]))
