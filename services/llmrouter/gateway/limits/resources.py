"""What is limited, and over which time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["LIMITS", "NANO", "Kind", "Period", "Resource", "Window", "period"]

NANO = 1_000_000_000
"""Money is counted in billionths of a US dollar, so that sums are exact."""


class Resource(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    """Of prompt and answer, over all models that were asked."""
    DOLLARS = "dollars"
    STREAMS = "streams"
    """Requests under way."""


class Window(StrEnum):
    """Over which time it is counted."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    NOW = "now"

    @property
    def milliseconds(self) -> int:
        """Length of a window that slides; 0 for the others."""
        return _SLIDING.get(self, 0)

    @property
    def is_calendar(self) -> bool:
        """Whether it begins anew at midnight UTC, or with the month."""
        return self in (Window.DAY, Window.MONTH)


_SLIDING = {Window.SECOND: 1_000, Window.MINUTE: 60_000, Window.HOUR: 3_600_000}


class Kind(NamedTuple):
    """One kind of limit."""

    resource: Resource
    window: Window

    def of(self, amount: int) -> str:
        """Return an amount in words, such as `10 requests per second`."""
        text = f"{amount / NANO:,.2f}" if self.resource is Resource.DOLLARS else f"{amount:,}"
        if self.window is Window.NOW:
            return f"{text} {self.resource} at once"
        unit = self.resource.removesuffix("s") if text == "1" else self.resource
        return f"{text} {unit} per {self.window}"


LIMITS: Mapping[str, Kind] = MappingProxyType(
    {
        "requests_per_second": Kind(Resource.REQUESTS, Window.SECOND),
        "requests_per_minute": Kind(Resource.REQUESTS, Window.MINUTE),
        "requests_per_hour": Kind(Resource.REQUESTS, Window.HOUR),
        "tokens_per_minute": Kind(Resource.TOKENS, Window.MINUTE),
        "tokens_per_day": Kind(Resource.TOKENS, Window.DAY),
        "tokens_per_month": Kind(Resource.TOKENS, Window.MONTH),
        "dollars_per_day": Kind(Resource.DOLLARS, Window.DAY),
        "dollars_per_month": Kind(Resource.DOLLARS, Window.MONTH),
        "concurrent_streams": Kind(Resource.STREAMS, Window.NOW),
    }
)
"""Kinds of limits by the names of their settings."""


class Period(NamedTuple):
    """One day or month."""

    name: str
    """`2026-11-25` or `2026-11`."""
    ends: int
    """Milliseconds since the epoch."""


def period(window: Window, now: int) -> Period:
    """Return the day or month, in UTC, that `now` is in.

    Args:
        window: DAY or MONTH.
        now: Milliseconds since the epoch.
    """
    midnight = datetime.fromtimestamp(now // 1000, UTC).replace(hour=0, minute=0, second=0)
    if window is Window.DAY:
        return Period(f"{midnight:%Y-%m-%d}", _milliseconds(midnight + timedelta(days=1)))
    first = midnight.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Period(f"{first:%Y-%m}", _milliseconds(following))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
