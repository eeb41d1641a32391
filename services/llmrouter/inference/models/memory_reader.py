"""How much memory is in use, of how much: the container's limit (cgroup v2), or the machine's.

Formats: https://docs.kernel.org/admin-guide/cgroup-v2.html and proc_meminfo(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryReader", "MemoryUse"]


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One limit and what is in use of it, in bytes."""

    used: int
    """Without what the system gives back by itself: unused pages of files."""
    limit: int
    source: str
    """`machine`, or the cgroup's path."""

    @property
    def share(self) -> float:
        """Of the limit in use; 0 to about 1."""
        return self.used / self.limit


class MemoryReader:
    """Reads the files of the kernel; what is missing or unreadable limits nothing.

    Args:
        root: Where the file systems are mounted; tests have one of their own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._meminfo = root / "proc/meminfo"
        self._membership = root / "proc/self/cgroup"
        self._cgroups = root / "sys/fs/cgroup"

    def read(self) -> MemoryUse | None:
        """Return the use of the limit that is nearest to being reached; None where none is known.

        A process is in one cgroup, whose limit and those of all above it count.
        """
        return max(self._uses(), key=lambda use: use.share, default=None)

    def limit(self) -> int | None:
        """Return the smallest limit in bytes; None where none is known."""
        return min((use.limit for use in self._uses()), default=None)

    def _uses(self) -> Iterator[MemoryUse]:
        machine = _fields(self._meminfo)
        total, available = machine.get("MemTotal:", 0), machine.get("MemAvailable:", 0)
        if total and "MemAvailable:" in machine:
            yield MemoryUse((total - available) * 1024, total * 1024, "machine")
        group = self._group()
        while group is not None:
            use = _cgroup_use(self._cgroups / group.relative_to("/"), str(group))
            if use is not None:
                yield use
            group = group.parent if group != group.parent else None

    def _group(self) -> Path | None:
        """Return this process's cgroup as the file system shows it."""
        for line in _text(self._membership).splitlines():
            if line.startswith("0::/"):
                return Path(line.removeprefix("0::"))
        return None


def _cgroup_use(folder: Path, name: str) -> MemoryUse | None:
    limit, current = _number(folder / "memory.max"), _number(folder / "memory.current")
    if not limit or current is None:
        return None
    # The kernel takes these back before it ends a process; Kubernetes counts the same way.
    unused = _fields(folder / "memory.stat").get("inactive_file", 0)
    return MemoryUse(max(0, current - unused), limit, name)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    """Return the number in a file; None for `max` and for anything else."""
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None


def _fields(file: Path) -> dict[str, int]:
    """Return the numbers of a file of lines `name number …`."""
    lines = (line.split() for line in _text(file).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
