"""A control group of the kernel's: what runs in it is ended when it takes more than it may."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryGroup:
    folder: Path
    older: bool

    def join(self) -> None:
        """Put the process that calls into the group; a child does so before it runs a program."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak(self) -> int:
        """The most it has held, pages of files included, in bytes."""
        name = "memory.max_usage_in_bytes" if self.older else "memory.peak"
        return int((self.folder / name).read_text())

    @property
    def killed(self) -> int:
        """Processes that the kernel ended for the limit."""
        name = "memory.oom_control" if self.older else "memory.events"
        fields = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(fields["oom_kill"])


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """A group that may hold `limit` bytes; the test skips where none can be made."""
    older = (_V1 / "memory.limit_in_bytes").exists()
    group = MemoryGroup((_V1 if older else _V2) / f"llmrouter-test-{uuid.uuid4().hex[:8]}", older)
    try:
        group.folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made ({error.strerror}): needs root and cgroups")
    try:
        try:
            limits = group.folder / ("memory.limit_in_bytes" if older else "memory.max")
            limits.write_text(str(limit))
        except OSError as error:
            pytest.skip(f"a control group cannot be limited ({error.strerror})")
        yield group
    finally:
        _remove(group.folder)


def _remove(folder: Path) -> None:
    for _ in range(100):  # what ran in it is ending
        try:
            return folder.rmdir()
        except OSError:
            time.sleep(0.1)
    return None
