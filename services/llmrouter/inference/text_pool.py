"""Threads for what is done to texts before an engine sees them: few, with a bounded queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llmrouter.common.errors import Reason, RouterError

__all__ = ["TextPool"]

ResultT = TypeVar("ResultT")


class TextPool:
    """Runs work on texts beside the event loop; used from one event loop.

    Args:
        threads: Pieces of work done at once.
        max_waiting: Pieces that may wait for a thread before QUEUE_FULL.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="llmrouter-text")
        self._most = threads + max_waiting
        self._pending = 0

    async def run(self, work: Callable[..., ResultT], *args: object) -> ResultT:
        """Return what `work` returns; being cancelled drops work that still waits.

        Raises:
            RouterError: QUEUE_FULL with retry_after.
        """
        if self._pending >= self._most:
            message = f"{self._pending} texts are being read or wait for it, as many as may"
            raise RouterError(Reason.QUEUE_FULL, message, retry_after=1.0)
        loop = asyncio.get_running_loop()
        self._pending += 1
        doing = self._threads.submit(work, *args)
        # Not when the caller leaves: work that has begun keeps its thread.
        doing.add_done_callback(lambda _: self._tell(loop))
        return await asyncio.wrap_future(doing)

    def close(self) -> None:
        """Drop what waits; what has begun ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have been closed meanwhile
            loop.call_soon_threadsafe(self._done)

    def _done(self) -> None:
        self._pending -= 1
