"""What an inference service does by itself: it unloads idle models and watches its memory."""

from __future__ import annotations

import asyncio

import structlog

from llmrouter.inference.models.lifecycle import Lifecycle
from llmrouter.inference.models.memory_monitor import MemoryMonitor

__all__ = ["Upkeep"]

_log = structlog.get_logger("llmrouter.models")


class Upkeep:
    """Runs both beside the requests, from `start` to `close`."""

    def __init__(self, lifecycle: Lifecycle, monitor: MemoryMonitor) -> None:
        self._lifecycle, self._monitor = lifecycle, monitor
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, sweep_seconds: float, look_seconds: float) -> None:
        """Begin.

        Args:
            sweep_seconds: Pause between two looks for idle models.
            look_seconds: Pause between two looks at the memory.
        """
        self._tasks.append(asyncio.create_task(self._monitor.run(look_seconds)))
        if self._lifecycle.options.idle_seconds:
            self._tasks.append(asyncio.create_task(self._sweep(sweep_seconds)))

    async def close(self) -> None:
        """End; safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _sweep(self, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                await self._lifecycle.sweep(self._lifecycle.options.idle_seconds)
            except Exception:  # noqa: BLE001 - whatever goes wrong, the next sweep comes
                _log.exception("idle models could not be unloaded")
