"""Load reports by the standard for them (ORCA): how busy this service is, told beside its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import seconds
from llmrouter.inference.backends.base import BackendStatistics
from llmrouter.inference.cpu_meter import CpuMeter
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.remote.models import RemoteModels
from llmrouter.v1 import orca_pb2 as pb
from llmrouter.v1.orca_pb2_grpc import OpenRcaServiceServicer

__all__ = ["LoadReporter"]

_USUAL, _LEAST, _MOST = 1.0, 0.1, 60.0


class LoadReporter(OpenRcaServiceServicer):
    """Answers `xds.service.orca.v3.OpenRcaService`.

    Args:
        registry: The models of this machine.
        remote: Those of providers.
        monitor: Knows the memory.
        cpu: Knows the cores.
    """

    def __init__(
        self, registry: ModelRegistry, remote: RemoteModels, monitor: MemoryMonitor, cpu: CpuMeter
    ) -> None:
        self._registry, self._remote = registry, remote
        self._monitor, self._cpu = monitor, cpu

    async def StreamCoreMetrics(  # noqa: N802 - the RPC's name
        self, request: pb.OrcaLoadReportRequest, context: Any
    ) -> AsyncIterator[pb.OrcaLoadReport]:
        """Stream a report at once, then one every interval; a model that comes or goes is told."""
        wanted = seconds(request.report_interval) or _USUAL
        interval = min(max(wanted, _LEAST), _MOST)
        changes = self._registry.changes
        while not changes.ended:
            seen = changes.count
            yield self.report()
            await changes.after(seen, interval)
        raise RouterError(Reason.DRAINING, "inference is shutting down", retry_after=1.0)

    def report(self) -> pb.OrcaLoadReport:
        """Return the load of this moment."""
        report, busiest = pb.OrcaLoadReport(cpu_utilization=self._cpu.share()), 0.0
        use = self._monitor.use
        if use is not None and use.limit:
            report.mem_utilization = min(1.0, use.used / use.limit)
        running = waiting = 0
        for name, load in self._loads():
            running, waiting = running + load.running, waiting + load.waiting
            told = {"running": load.running, "waiting": load.waiting, "slots": load.slots,
                    "cache_bytes": load.cache_bytes}  # fmt: skip
            for what, value in told.items():
                report.named_metrics[f"{what}:{name}"] = value
            if load.slots:
                report.utilization[name] = min(1.0, load.running / load.slots)
                busiest = max(busiest, (load.running + load.waiting) / load.slots)
        report.application_utilization = busiest
        report.named_metrics["num_requests_running"] = running
        report.named_metrics["num_requests_waiting"] = waiting
        return report

    def _loads(self) -> Iterator[tuple[str, BackendStatistics]]:
        """Yield what is loaded, as `model@version`, and how busy it is."""
        for held in self._registry.models:
            if held.opened is not None and held.facts is not None:
                yield f"{held.key.name}@{held.facts.version}", held.opened.engine.statistics()
        for one in self._remote:
            yield f"{one.name}@{one.version}", one.statistics()
