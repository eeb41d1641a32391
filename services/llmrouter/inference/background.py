"""Threads that stand back: what loads a model does not take the cores from those that serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

__all__ = ["in_background"]

ResultT = TypeVar("ResultT")

_NICENESS = 5
"""A third of the share of a core that others get who want it; on idle cores it changes nothing."""
_THREADS = 4


def _stand_back() -> None:
    # On Linux, and there alone, this is the thread's own: sched(7).
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


_threads = ThreadPoolExecutor(_THREADS, "llmrouter-loading", initializer=_stand_back)


async def in_background(work: Callable[..., ResultT], *args: object) -> ResultT:
    """Return what `work` returns, done by a thread that stands back.

    Threads that it starts inherit this: what serves later is started elsewhere.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(work, *args))
