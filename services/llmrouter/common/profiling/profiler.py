"""Records the threads of a process and the steps of its engines, one recording at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.profiling.formats import Step, chrome_trace, speedscope
from llmrouter.common.profiling.stacks import sample

__all__ = ["Profile", "Profiler", "StepSource"]

_RECORDING = threading.Lock()
"""Of the process: several services may share it, and each would record all its threads."""


class StepSource(Protocol):
    """Engines whose steps can be recorded."""

    def begin(self) -> None:
        """Keep the next steps, so many at most."""
        ...

    def take(self) -> dict[str, Sequence[Step]]:
        """End that; return the steps by model."""
        ...


@dataclass(frozen=True, slots=True)
class Profile:
    """What was recorded."""

    service: str
    stacks: bytes
    """As a speedscope file."""
    steps: bytes
    """As a Chrome trace; empty where no engine ran."""
    samples: int
    recorded_steps: int
    truncated: bool


class Profiler:
    """Records one service.

    Args:
        service: Its name.
        engines: Whose steps are recorded too; None where there are none.
    """

    def __init__(self, service: str, engines: StepSource | None = None) -> None:
        self._service, self._engines = service, engines

    async def record(self, seconds: float, per_second: int) -> Profile:
        """Record for so many seconds; being cancelled ends it.

        Raises:
            RouterError: QUEUE_FULL while this process is being recorded already.
        """
        if not _RECORDING.acquire(blocking=False):
            told = "a profile of this process is being recorded; ask again when it is done"
            raise RouterError(Reason.QUEUE_FULL, told, retry_after=seconds)
        try:
            return await self._record(seconds, per_second)
        finally:
            _RECORDING.release()

    async def _record(self, seconds: float, per_second: int) -> Profile:
        stopped, began = threading.Event(), time.monotonic()
        if self._engines is not None:
            self._engines.begin()
        try:
            stacks = await asyncio.to_thread(sample, seconds, per_second, stopped)
        finally:
            stopped.set()
            engines = {} if self._engines is None else self._engines.take()
        told, cut = await asyncio.to_thread(speedscope, self._service, stacks)
        count = sum(map(len, engines.values()))
        trace, shortened = b"", False
        if count:
            trace, shortened = await asyncio.to_thread(chrome_trace, self._service, engines, began)
        truncated = stacks.truncated or cut or shortened
        return Profile(self._service, told, trace, stacks.samples, count, truncated)
