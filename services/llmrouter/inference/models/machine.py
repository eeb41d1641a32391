"""Which machine this is, so that figures of another one are not believed."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

from llmrouter.inference.backends.cores import available_cores

__all__ = ["describe_machine", "resident_bytes"]

_CPUINFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
_LONGEST = 200


@cache
def describe_machine(cpuinfo: Path = _CPUINFO) -> str:
    """Return the processor's name and the cores that this process has been given."""
    try:
        found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    name = found[1] if found else platform.machine()
    cores = available_cores()
    printable = "".join(one for one in name if one.isprintable())[:_LONGEST].strip()
    return f"{printable or 'unknown'}, {cores} core{'s' if cores > 1 else ''}"


def resident_bytes(status: Path = _STATUS) -> int:
    """Return the memory that this process holds now; 0 where the system does not tell."""
    try:
        found = re.search(r"^VmRSS:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
