"""A backend that computes nothing and takes its time: a test double behind the real inference
service, found by its entry point wherever its folder is on the path.

Its pace stands in `pace.json` of the model's folder. An answer is a sequence that anybody can check
and go on with: its token number n is letter n of the alphabet, over and over.
"""

from __future__ import annotations

import asyncio
import json
import string
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from llmrouter.common.capabilities import CONTINUATION
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason
from llmrouter.inference.backends.base import (
    BackendEvent,
    BackendFinished,
    BackendOptions,
    BackendRequest,
    BackendStatistics,
    TokenDelta,
)

__all__ = ["PACE_FILE", "Pace", "PacedBackend", "text_of"]

PACE_FILE = "pace.json"
_CONTEXT = 1 << 15


@dataclass(frozen=True)
class Pace:
    """How long an engine takes, in seconds."""

    prefill: float = 0.0
    """Per token of the prompt."""
    step: float = 0.01
    """Of one decoding step with a single row."""
    row: float = 0.0
    """That every further row adds to a step."""
    tokens_at_once: int = 1
    """Told in one piece: a stream's messages cost processor time here and on its whole way."""


def text_of(tokens: int) -> str:
    """Return the answer of that many tokens."""
    letters = string.ascii_lowercase
    return (letters * (tokens // len(letters) + 1))[:tokens]


class PacedBackend:
    """Generates at a pace, so many sequences at once as there are slots."""

    context = _CONTEXT

    def __init__(self, pace: Pace, options: BackendOptions) -> None:
        self._pace, self._options = pace, options
        self._free = asyncio.Semaphore(options.slots)
        self._running = self._waiting = 0

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> PacedBackend:
        told = await asyncio.to_thread((folder / PACE_FILE).read_text)
        return cls(Pace(**json.loads(told)), options)

    @classmethod
    def honours(cls) -> frozenset[str]:
        return frozenset({CONTINUATION, "seed", "min_tokens"})

    async def generate(self, request: BackendRequest) -> AsyncIterator[BackendEvent]:
        if self._waiting >= self._options.max_waiting:
            raise RouterError(Reason.QUEUE_FULL, "enough requests wait already", retry_after=0.5)
        began = time.monotonic()
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            async for event in self._at_pace(request, began):
                yield event
        finally:
            self._running -= 1
            self._free.release()

    async def _at_pace(self, request: BackendRequest, began: float) -> AsyncIterator[BackendEvent]:
        pace, said = self._pace, len(request.answered)
        started = now = time.monotonic()
        due = first = now + pace.prefill * len(request.prompt_tokens)
        wanted = request.sampling.max_tokens or 1
        for begin in range(said, wanted, pace.tokens_at_once):
            end = min(wanted, begin + pace.tokens_at_once)
            due += (end - begin) * (pace.step + pace.row * (self._running - 1))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            text = text_of(end)[begin:]
            yield TokenDelta(text, end - begin, token_ids=tuple(text.encode()))
        yield BackendFinished(
            FinishReason.LENGTH, "", len(request.prompt_tokens), wanted - said, started - began,
            first - started, time.monotonic() - first, first - began,
        )  # fmt: skip

    def statistics(self) -> BackendStatistics:
        step = self._pace.step + self._pace.row * max(0, self._running - 1)
        return BackendStatistics(
            running=self._running, waiting=self._waiting, slots=self._options.slots,
            step_seconds=step,
        )  # fmt: skip

    def forget_prefixes(self, keep_bytes: int) -> None:
        pass

    async def close(self) -> None:
        pass
