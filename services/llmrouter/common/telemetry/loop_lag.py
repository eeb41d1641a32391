"""How late the event loop comes: what every request of the process waits for too."""

from __future__ import annotations

import asyncio
import time

from llmrouter.common.telemetry.metering import Meter
from llmrouter.common.telemetry.names import Name

__all__ = ["watch_loop"]


async def watch_loop(meter: Meter, every: float = 0.25) -> None:
    """Record, until cancelled, how much longer than `every` seconds a sleep of that takes."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(every)
        meter.record(Name.LOOP_LAG, max(0.0, time.monotonic() - began - every), {})
