"""What metrics show of the process itself."""

from __future__ import annotations

import os
from pathlib import Path

from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import Name

__all__ = ["process_readings"]

_STATM = Path("/proc/self/statm")


async def process_readings() -> list[Reading]:
    """Return the memory that the process holds; nothing where the system does not tell."""
    try:
        told = _STATM.read_text(encoding="ascii")  # noqa: ASYNC240 - the kernel answers at once
        resident = int(told.split()[1])
    except (OSError, ValueError, IndexError):
        return []
    return [Reading(Name.MEMORY_USAGE, resident * os.sysconf("SC_PAGE_SIZE"), {"kind": "process"})]
