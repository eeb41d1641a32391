"""How much memory is in use, of how much: the container's limit (cgroups), or the machine's.

Formats: https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html beside it, and
proc_meminfo(5).
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


@dataclass(frozen=True, slots=True)
class _Files:
    """Where one version of cgroups tells memory."""

    mount: str
    limit: str
    used: str
    unused: str
    """The field of `memory.stat` that counts pages of files nobody uses."""


_V1 = _Files(
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)
_V2 = _Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_UNLIMITED = 1 << 62
"""What version 1 says where nothing is set is a little below 2^63."""


class MemoryReader:
    """Reads the files of the kernel; what is missing or unreadable limits nothing.

    Args:
        root: Where the file systems are mounted; tests have one of their own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self) -> MemoryUse | None:
        """Return the use of the limit that is nearest to being reached; None where none is known.

        A process is in one cgroup, whose limit and those of all above it count.
        """
        return max(self._uses(), key=lambda use: use.share, default=None)

    def limit(self) -> int | None:
        """Return the smallest limit in bytes; None where none is known."""
        return min((use.limit for use in self._uses()), default=None)

    def _uses(self) -> Iterator[MemoryUse]:
        machine = _fields(self._root / "proc/meminfo")
        total, available = machine.get("MemTotal:", 0), machine.get("MemAvailable:", 0)
        if total and "MemAvailable:" in machine:
            yield MemoryUse((total - available) * 1024, total * 1024, "machine")
        for files, group in self._groups():
            for above in (group, *group.parents):
                use = _cgroup_use(self._root / files.mount / above.relative_to("/"), files, above)
                if use is not None:
                    yield use

    def _groups(self) -> Iterator[tuple[_Files, Path]]:
        """Return this process's cgroups as the file systems show them."""
        for line in _text(self._root / "proc/self/cgroup").splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if path.startswith("/") and not controllers:
                yield _V2, Path(path)
            elif path.startswith("/") and "memory" in controllers.split(","):
                yield _V1, Path(path)


def _cgroup_use(folder: Path, files: _Files, name: Path) -> MemoryUse | None:
    limit, used = _number(folder / files.limit), _number(folder / files.used)
    if not limit or used is None or limit >= _UNLIMITED:
        return None
    # The kernel takes these back before it ends a process; Kubernetes counts the same way.
    unused = _fields(folder / "memory.stat").get(files.unused, 0)
    return MemoryUse(max(0, used - unused), limit, str(name))


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
