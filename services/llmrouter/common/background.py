"""Work beside the requests, from a start to a close."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["BackgroundTask"]


class BackgroundTask:
    """One task that runs until it is closed.

    Args:
        name: Of the task, for those who look at a process; a few words.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin the work, which sees to its own errors: nobody is told of them.

        Raises:
            RuntimeError: It has begun already.
        """
        if self._task is not None:
            work.close()
            raise RuntimeError(f"the task '{self._name}' has begun already")
        self._task = asyncio.create_task(work, name=self._name)

    async def close(self) -> None:
        """Cancel the work and return once it has ended. Safe to call twice, and before a start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
