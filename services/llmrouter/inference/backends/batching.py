"""Runs whole requests in batches that the compiled `SequenceBatcher` forms.

For engines that compute a batch by themselves and are reached from Python: threads of this class
wait for batches outside the interpreter's lock, and the events of all requests reach the event
loop through one file descriptor.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Priority
from llmrouter.inference.backends.base import BackendOptions, BackendStatistics
from llmrouter.inference.backends.native_events import reason_of

__all__ = ["BatchLoop", "Job", "Wishes", "batcher_for"]

_PATIENCE_SECONDS = 1.0
"""How long a thread waits for a batch before it looks whether it is to end."""
_CLOSE_SECONDS = 60.0
_log = structlog.get_logger("llmrouter.batching")

PayloadT = TypeVar("PayloadT")


@dataclass(frozen=True, slots=True)
class Job(Generic[PayloadT]):
    """One request of a batch."""

    id: int
    payload: PayloadT


@dataclass(frozen=True, slots=True)
class Wishes:
    """How one request is to be queued."""

    length: int
    """Tokens, by which like requests find each other."""
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    """Seconds after which the answer is of no use."""
    kind: int = 0
    """Any 64-bit number; only requests of the same one share a batch."""


def batcher_for(options: BackendOptions, max_positions: int) -> _native.SequenceBatcher:
    """Return a batcher; `max_positions` bounds requests times the longest in one batch.

    Raises:
        RouterError: INVALID_ARGUMENT for options out of bounds.
    """
    try:
        return _native.SequenceBatcher(
            max_waiting=options.max_waiting,
            max_batch=options.batch_size,
            max_positions=max_positions,
            max_padding=options.batch_padding,
            window=options.batch_window_seconds,
            ageing=options.ageing_seconds,
        )
    except _native.EngineError as error:
        raise RouterError(reason_of(error.code), str(error)) from error


class BatchLoop(Generic[PayloadT]):
    """Hands batches to `run` and events back to whoever submitted the request.

    Args:
        batcher: Forms the batches.
        run: Computes one batch on a thread and ends each job by `batcher.finish` or `fail`. A job
            it leaves, and every job of a batch that raises, fails as GENERATION_FAILED.
        slots: Requests of a batch at most, for the statistics.
    """

    def __init__(
        self,
        batcher: _native.SequenceBatcher,
        run: Callable[[Sequence[Job[PayloadT]]], None],
        slots: int,
    ) -> None:
        self.batcher = batcher
        self._run_batch = run
        self._slots = slots
        self._lock = threading.Lock()
        self._payloads: dict[int, PayloadT] = {}
        self._sinks: dict[int, Callable[[_native.Event], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(batcher.event_fd, self._deliver)
        self._thread = threading.Thread(target=self._work, name="llmrouter-batches", daemon=True)
        self._thread.start()
        self._closed = False

    def submit(
        self, payload: PayloadT, wishes: Wishes, sink: Callable[[_native.Event], None]
    ) -> int:
        """Queue a request; `sink` gets its events on the event loop, the last one once.

        Raises:
            RouterError: QUEUE_FULL with retry_after; MODEL_UNAVAILABLE once closed.
        """
        try:
            with self._lock:  # a thread may take the request before its payload is kept
                request = self.batcher.submit(
                    wishes.length,
                    priority=_native.Priority[wishes.priority.name],
                    timeout=wishes.timeout,
                    kind=wishes.kind,
                )
                self._payloads[request] = payload
        except _native.EngineError as error:
            raise self._refusal(error) from error
        self._sinks[request] = sink
        return request

    def require_room(self, requests: int) -> None:
        """Check that as many requests may be queued now, all of them together.

        Raises:
            RouterError: QUEUE_FULL with retry_after.
        """
        room = self.batcher.room()
        if requests > room:
            raise self._full(f"{requests} requests came together, {room} more may wait")

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment; a step is a batch."""
        now = self.batcher.statistics()
        return BackendStatistics(
            running=now.running,
            waiting=now.waiting,
            slots=self._slots,
            steps=now.batches,
            prompt_tokens=now.tokens,
            completion_tokens=now.completion_tokens,
            step_seconds=now.batch_seconds,
            estimated_wait_seconds=now.estimated_wait_seconds,
        )

    async def close(self) -> None:
        """Cancel what runs and end the thread; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.batcher.stop()
        await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)
        self._loop.remove_reader(self.batcher.event_fd)
        self._deliver()

    def _refusal(self, error: _native.EngineError) -> RouterError:
        reason = reason_of(error.code)
        if reason is not Reason.QUEUE_FULL:
            return RouterError(reason, str(error))
        return self._full(str(error))

    def _full(self, problem: str) -> RouterError:
        now = self.batcher.statistics()
        wait = now.estimated_wait_seconds
        return RouterError(
            Reason.QUEUE_FULL,
            f"{problem}; a request would wait about {wait:.1f} s",
            metadata={"estimated_wait_seconds": f"{wait:.3f}"},
            # There is room as soon as one batch is taken.
            retry_after=min(60.0, max(0.1, now.batch_seconds)),
        )

    def _work(self) -> None:
        while not self.batcher.stopped:
            taken = self.batcher.take(_PATIENCE_SECONDS)
            if taken:
                self._compute(taken)

    def _compute(self, taken: Sequence[int]) -> None:
        with self._lock:
            jobs = [Job(one, self._payloads[one]) for one in taken if one in self._payloads]
        message = "the engine left the request without an answer"
        try:
            self._run_batch(jobs)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises, the thread goes on
            _log.warning("batch failed", requests=len(jobs), error=str(error))
            message = f"the engine failed: {error}"
        for one in taken:  # those that have ended are not failed again
            self.batcher.fail(one, _native.ErrorCode.GENERATION_FAILED, message)

    def _deliver(self) -> None:
        for event in self.batcher.drain():
            if isinstance(event, _native.TextDelta):
                sink = self._sinks.get(event.id)
            else:
                sink = self._sinks.pop(event.id, None)
                with self._lock:
                    self._payloads.pop(event.id, None)
            if sink is not None:
                sink(event)
