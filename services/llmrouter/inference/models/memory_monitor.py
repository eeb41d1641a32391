"""Watches memory: reads how much is in use, judges how short it is, and has relief given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from llmrouter.inference.models.memory_reader import MemoryUse
from llmrouter.inference.models.pressure import Pressure, Thresholds, next_pressure

__all__ = ["MemoryMonitor"]

_log = structlog.get_logger("llmrouter.memory")


class MemoryMonitor:
    """Looks from time to time.

    Args:
        read: Returns what is in use; None where that cannot be known.
        thresholds: Where pressures begin.
        relieve: Told the pressure after every look at which memory is short, and once when it is
            not any more.
    """

    def __init__(
        self,
        read: Callable[[], MemoryUse | None],
        thresholds: Thresholds,
        relieve: Callable[[Pressure], Awaitable[None]],
    ) -> None:
        self._read, self._thresholds, self._relieve = read, thresholds, relieve
        self.pressure = Pressure.NONE
        self.use: MemoryUse | None = None
        """As of the last look."""

    async def look(self) -> None:
        """Look once and have relief given; failures of it are logged, the watch goes on."""
        self.use = await asyncio.to_thread(self._read)
        share = self.use.share if self.use is not None else 0.0
        before, self.pressure = self.pressure, next_pressure(self.pressure, share, self._thresholds)
        if self.pressure != before:
            self._tell(before)
        if self.pressure or before:
            try:
                await self._relieve(self.pressure)
            except Exception:  # noqa: BLE001 - whatever goes wrong, the watch goes on
                _log.exception("memory could not be freed")

    async def run(self, interval: float) -> None:
        """Look every `interval` seconds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(interval)

    def _tell(self, before: Pressure) -> None:
        use = self.use
        facts = {"used": use.used, "limit": use.limit, "of": use.source} if use else {}
        log = _log.warning if self.pressure > before else _log.info
        log("memory pressure", pressure=self.pressure.name.lower(),
            before=before.name.lower(), **facts)  # fmt: skip
