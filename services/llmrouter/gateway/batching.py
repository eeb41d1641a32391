"""Many questions of one call: several answered at once, each result given when it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import structlog

from llmrouter.common.errors import Reason, RouterError, invalid

__all__ = ["MAX_CONCURRENCY", "MAX_QUESTIONS", "answer_each", "check_batch"]

MAX_QUESTIONS = 1000
MAX_CONCURRENCY = 64
_log = structlog.get_logger("llmrouter.gateway.batching")
T = TypeVar("T")


def check_batch(count: int, concurrency: int) -> None:
    """Check how many questions there are, and how many are to be answered at once.

    Raises:
        RouterError: INVALID_ARGUMENT naming the field.
    """
    if not 1 <= count <= MAX_QUESTIONS:
        raise invalid("requests", f"are {count}; give 1 to {MAX_QUESTIONS}")
    if concurrency > MAX_CONCURRENCY:
        raise invalid("concurrency", f"is {concurrency}; at most {MAX_CONCURRENCY}")


async def answer_each(
    count: int, answer: Callable[[int], Awaitable[T]], concurrency: int
) -> AsyncIterator[tuple[int, T | RouterError]]:
    """Give the result of each question, or why there is none, in the order in which they end.

    No more than one result waits for the reader, and one in the hands of each of `concurrency`
    tasks: those begin nothing new until it is taken. Closing the iterator cancels them all.

    Args:
        count: How many questions there are.
        answer: Answers one of them, by its index.
        concurrency: How many are answered at once; 1 or more.
    """
    results: asyncio.Queue[tuple[int, T | RouterError]] = asyncio.Queue(1)
    left = iter(range(count))

    async def work() -> None:
        for index in left:
            await results.put((index, await _outcome(answer, index)))

    workers = [asyncio.create_task(work()) for _ in range(min(concurrency, count))]
    try:
        for _ in range(count):
            yield await results.get()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _outcome(answer: Callable[[int], Awaitable[T]], index: int) -> T | RouterError:
    try:
        return await answer(index)
    except RouterError as error:
        return error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return RouterError(Reason.CANCELLED, "the question was given up")
    except Exception:  # noqa: BLE001 - one question's defect is not the others'
        _log.exception("unexpected failure", question=index)
        message = "the gateway failed unexpectedly; its log says more"
        return RouterError(Reason.INTERNAL, message)
