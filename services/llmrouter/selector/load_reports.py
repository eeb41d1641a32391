"""Listens to the load reports (ORCA) of the inference services, beside what they hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from grpc import StatusCode, aio

from llmrouter.common.wire import duration
from llmrouter.v1 import orca_pb2 as pb
from llmrouter.v1.orca_pb2_grpc import OpenRcaServiceStub

__all__ = ["LoadListener", "ReportedLoad"]

_PAUSE_SECONDS = 1.0
_UNOFFERED_SECONDS = 60.0
"""Until one that offers no reports is asked again: it may have been replaced by one that does."""
_MAX_METRICS = 8192
_log = logging.getLogger(__name__)


class ReportedLoad(NamedTuple):
    """How busy one version of a model is at an address."""

    running: int
    waiting: int


Told = Callable[[str, Mapping[tuple[str, str], ReportedLoad]], None]
"""Takes in an address and its loads by name and version."""


class LoadListener:
    """One stream of reports per address; where none is offered, what `Watch` tells has to do.

    Args:
        addresses: `host:port` of each inference service.
        channel: Gives the channel to an address; its owner closes it.
        told: Takes in every report.
        interval: Seconds between two reports; 0 listens to none.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        channel: Callable[[str], Any],
        told: Told,
        interval: float,
    ) -> None:
        self._addresses = tuple(dict.fromkeys(addresses)) if interval else ()
        self._channel, self._told, self._interval = channel, told, interval
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen."""
        self._tasks = [
            asyncio.create_task(self._listen(address), name=f"load of {address}")
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Stop listening. Safe to call twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, address: str) -> None:
        request = pb.OrcaLoadReportRequest(report_interval=duration(self._interval))
        while True:
            pause = _PAUSE_SECONDS
            try:
                call = OpenRcaServiceStub(self._channel(address)).StreamCoreMetrics(request)
                try:
                    async for report in call:
                        self._told(address, loads_in(report))
                finally:
                    call.cancel()
            except aio.AioRpcError as error:
                if error.code() is StatusCode.UNIMPLEMENTED:
                    pause = _UNOFFERED_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever one sends, listening goes on
                _log.warning("a load report of %s cannot be read: %s", address, error)
            await asyncio.sleep(pause)


def loads_in(report: pb.OrcaLoadReport) -> dict[tuple[str, str], ReportedLoad]:
    """Return the loads that a report names, by name and version of the model."""
    metrics = report.named_metrics
    if len(metrics) > _MAX_METRICS:
        raise ValueError(f"it names {len(metrics)} metrics, over {_MAX_METRICS}")
    found = {}
    for key, running in metrics.items():
        what, _, place = key.partition(":")
        name, at, version = place.rpartition("@")
        if what == "running" and at:
            waiting = metrics.get(f"waiting:{place}", 0.0)
            found[name, version] = ReportedLoad(_count(running), _count(waiting))
    return found


def _count(value: float) -> int:
    """Return a number of requests; what is none, such as NaN, is 0."""
    return int(value) if 0 <= value < 1e9 else 0
