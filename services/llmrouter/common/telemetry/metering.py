"""Instruments by name: what is counted where it happens, and what is read where it is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import NamedTuple, Protocol

import structlog
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.metrics import Meter as ApiMeter

from llmrouter.common.telemetry.cardinality import BoundedLabels
from llmrouter.common.telemetry.histograms import Histograms
from llmrouter.common.telemetry.names import INSTRUMENTS, Kind, Name

__all__ = ["Meter", "OtelMeter", "Reading", "Source"]

_log = structlog.get_logger("llmrouter.telemetry")
_READ_SECONDS = 2.0
"""How long a reader waits for the event loop at most; a loop that is stuck tells nothing then."""
_FRESH_SECONDS = 0.25
"""All instruments of one look share one reading."""


class Reading(NamedTuple):
    """One value as it is now."""

    name: Name
    value: float
    labels: Mapping[str, str] = {}


Source = Callable[[], Awaitable["Iterable[Reading]"]]
"""Reads the values of one service, on its event loop."""


_Labels = tuple[tuple[str, str], ...]


class Meter(Protocol):
    """What a service needs in order to measure."""

    def add(self, name: Name, labels: Mapping[str, str], amount: float = 1) -> None:
        """Add to a counter."""
        ...

    def record(self, name: Name, value: float, labels: Mapping[str, str]) -> None:
        """Take a value into a histogram."""
        ...


class OtelMeter:
    """A `Meter` over OpenTelemetry.

    Args:
        meter: Makes the instruments, all of them at once: one without values tells nothing.
        labels: Bounds what labels say.
        histograms: Where values go that are to be spread over buckets.
    """

    def __init__(self, meter: ApiMeter, labels: BoundedLabels, histograms: Histograms) -> None:
        self._labels = labels
        self._readings = _Readings(labels)
        self._counts: dict[Name, dict[_Labels, float]] = {}
        self._histograms = histograms
        for name, one in INSTRUMENTS.items():
            if one.kind is Kind.COUNTER:
                # Added up here and read like all other totals: a third of what the SDK's costs.
                series = self._counts[name] = {}
                told = [_telling(series)]
                meter.create_observable_counter(name, told, one.unit, one.description)
            elif one.kind is not Kind.HISTOGRAM:
                observed = (
                    meter.create_observable_counter
                    if one.kind is Kind.TOTAL
                    else meter.create_observable_gauge
                )
                observed(name, [self._readings.callback(name)], one.unit, one.description)

    def add(self, name: Name, labels: Mapping[str, str], amount: float = 1) -> None:
        """Add to a counter; the same labels always come in the same order."""
        series, told = self._counts[name], tuple(self._labels.bound(labels).items())
        series[told] = series.get(told, 0) + amount

    def record(self, name: Name, value: float, labels: Mapping[str, str]) -> None:
        """Take a value into a histogram; the same labels always come in the same order."""
        self._histograms.record(name, value, tuple(self._labels.bound(labels).items()))

    def observe(self, source: Source) -> Callable[[], None]:
        """Read `source` whenever metrics are collected; return what ends that.

        Called on the event loop that `source` is to be called on.
        """
        return self._readings.add(source, asyncio.get_running_loop())


def _telling(series: dict[_Labels, float]) -> Callable[[CallbackOptions], list[Observation]]:
    def observe(options: CallbackOptions) -> list[Observation]:
        return [Observation(value, dict(labels)) for labels, value in dict(series).items()]

    return observe


class _Readings:
    """The last look at every source; readers are threads, sources live on event loops."""

    def __init__(self, labels: BoundedLabels) -> None:
        self._labels = labels
        self._sources: dict[int, tuple[Source, asyncio.AbstractEventLoop]] = {}
        self._lock = threading.Lock()
        self._looked = -_FRESH_SECONDS
        self._values: dict[Name, dict[_Labels, float]] = {}
        self._next = 0

    def add(self, source: Source, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        self._next += 1
        number = self._next
        self._sources = {**self._sources, number: (source, loop)}

        def end() -> None:
            self._sources = {
                key: one for key, one in self._sources.items() if key != number
            }  # fmt: skip

        return end

    def callback(self, name: Name) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            for labels, value in self._look().get(name, {}).items():
                yield Observation(value, dict(labels))

        return observe

    def _look(self) -> Mapping[Name, Mapping[_Labels, float]]:
        with self._lock:
            if time.monotonic() - self._looked >= _FRESH_SECONDS:
                self._values = self._summed(_read(self._sources.values()))
                self._looked = time.monotonic()
            return self._values

    def _summed(self, readings: Iterable[Reading]) -> dict[Name, dict[_Labels, float]]:
        """Return values by name and labels; those that became one by the bound are added up."""
        values: dict[Name, dict[_Labels, float]] = {}
        for name, value, labels in readings:
            told = tuple(sorted(self._labels.bound(labels).items()))
            series = values.setdefault(name, {})
            series[told] = series.get(told, 0.0) + value
        return values


def _read(sources: Iterable[tuple[Source, asyncio.AbstractEventLoop]]) -> list[Reading]:
    found: list[Reading] = []
    for source, loop in sources:
        looking = _on_loop(source)
        try:
            reading = asyncio.run_coroutine_threadsafe(looking, loop)
        except RuntimeError:  # the loop is closed
            looking.close()
            continue
        try:
            found += reading.result(_READ_SECONDS)
        except (TimeoutError, CancelledError):
            reading.cancel()
        except Exception:  # noqa: BLE001 - what one source cannot tell, others still can
            _log.exception("a source of metrics failed")
    return found


async def _on_loop(source: Source) -> tuple[Reading, ...]:
    return tuple(await source())
