"""What was generated of one turn and is not sent yet: merged, bounded, and sent against credit."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import Delta, GenerationEvent
from llmrouter.common.merging import joined
from llmrouter.gateway.answers import logprob_bytes

__all__ = ["Cancelled", "Credit", "Outcome", "Reply"]

_MAX_BYTES = 16 << 10
"""Of what is not sent yet; beyond it the generation is read no further."""
_LOGPROB_MEMORY = 5
"""How much more memory a log probability takes than on the wire."""
_PIECES = 16
"""Deltas that wait side by side at most: an object for each takes more than most of them say."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A turn was given up."""

    tokens: int
    """Of its answer, which were sent."""


Outcome = GenerationEvent | RouterError | Cancelled


class Credit:
    """Bytes of text that the caller will take; no bound until the first grant."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.changed = asyncio.Event()

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self._left is not None and self._left <= 0

    def grant(self, count: int) -> None:
        """Take in that so many more are welcome."""
        self._left = count + (self._left or 0)
        self.changed.set()

    def spend(self, count: int) -> None:
        """Count what is sent; the last delta may exceed what is left."""
        if self._left is not None:
            self._left -= count


class Reply:
    """The events of one turn between who generates and who sends them.

    Deltas that have to wait merge with the one before them. The first one waits for no credit.
    """

    def __init__(self, credit: Credit) -> None:
        self._credit = credit
        self._waiting: deque[list[Delta] | Outcome] = deque()
        self._bytes = 0
        self._begun = False
        self._room = asyncio.Event()
        self._ended = False

    async def put(self, event: GenerationEvent) -> None:
        """Add an event; waits while too much text has to wait."""
        if not isinstance(event, Delta):
            self._add(event)
            return
        if event.token_ids:  # no caller is told them, and they take much room
            event = replace(event, token_ids=())
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, list) and last[0].choice == event.choice:
            last.append(event)
            if len(last) >= _PIECES:
                last[:] = [joined(last)]
        else:
            self._waiting.append([event])
        self._bytes += _size(event)
        self._credit.changed.set()
        while self._bytes > _MAX_BYTES:
            self._room.clear()
            await self._room.wait()

    def end(self, last: RouterError | Cancelled) -> None:
        """Add the last one; what a cancelled turn has not sent yet is let go."""
        if self._ended:
            return
        self._ended = True
        if isinstance(last, Cancelled):
            self._waiting.clear()
        self._add(last)

    async def take(self) -> Outcome:
        """Return the next one, as soon as it may be sent."""
        while not self._may_take():
            self._credit.changed.clear()
            await self._credit.changed.wait()
        first = self._waiting.popleft()
        if not isinstance(first, list):
            return first
        self._begun = True
        merged = joined(first)
        self._bytes -= _size(merged)
        self._credit.spend(len(merged.text.encode()))
        self._room.set()
        return merged

    def _may_take(self) -> bool:
        if not self._waiting:
            return False
        return not (isinstance(self._waiting[0], list) and self._begun and self._credit.spent)

    def _add(self, event: Outcome) -> None:
        self._waiting.append(event)
        self._credit.changed.set()


def _size(delta: Delta) -> int:
    return len(delta.text.encode()) + _LOGPROB_MEMORY * logprob_bytes(delta.logprobs)
