"""Samples the stacks of Python's threads from within, which needs no right over the process."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

__all__ = ["Frame", "Stacks", "sample"]

_MAX_STACKS = 10_000
_DEEPEST = 128
Frame = tuple[str, str, int]
"""Function, file, and the line where the function begins."""


@dataclass(slots=True)
class Stacks:
    """Seconds by thread and stack, outermost frame first."""

    seconds: dict[tuple[str, tuple[Frame, ...]], float] = field(default_factory=dict)
    samples: int = 0
    truncated: bool = False
    """Whether stacks were left out, or cut."""

    def add(self, thread: str, stack: tuple[Frame, ...], seconds: float) -> None:
        """Count one stack; new ones beyond the bound are left out."""
        key = thread, stack
        if key not in self.seconds and len(self.seconds) >= _MAX_STACKS:
            self.truncated = True
            return
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds


def sample(
    seconds: float,
    per_second: int,
    stopped: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Stacks:
    """Sample all threads but this one; blocks.

    Args:
        seconds: For how long.
        per_second: Samples per second, as far as the interpreter is free.
        stopped: Ends it early.
        clock: Monotonic seconds.
    """
    found, here = Stacks(), threading.get_ident()
    before = clock()
    until = before + seconds
    while before < until and not stopped.wait(min(1 / per_second, until - before)):
        now = clock()
        names = {one.ident: one.name for one in threading.enumerate()}
        for thread, top in sys._current_frames().items():  # noqa: SLF001 - documented for debugging
            if thread != here:
                name = names.get(thread) or f"thread {thread}"
                found.add(name, tuple(_stack(top, found)), now - before)
        found.samples += 1
        before = now
    return found


def _stack(top: FrameType, found: Stacks) -> Iterator[Frame]:
    frames: list[Frame] = []
    frame: FrameType | None = top
    while frame is not None and len(frames) < _DEEPEST:
        code = frame.f_code
        frames.append((code.co_qualname, code.co_filename, code.co_firstlineno))
        frame = frame.f_back
    found.truncated |= frame is not None
    return reversed(frames)
