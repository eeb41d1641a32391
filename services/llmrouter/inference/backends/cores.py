"""How many cores this process has been given: by affinity, and by its container's quota."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_cores"]

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota_file: Path = _CGROUP_QUOTA) -> int:
    """Return the number of cores to compute on, at least 1.

    Args:
        quota_file: cgroup v2's `cpu.max`: microseconds of quota and of period, or "max".
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        cores = min(cores, int(quota) // int(period))
    except (OSError, ValueError):
        pass  # No quota: not in such a container, or "max".
    return max(cores, 1)
