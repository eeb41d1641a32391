"""Similar questions for asyncio: found by direction, then judged by their words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from llmrouter.cache.lmdb_folder import CORRUPT
from llmrouter.cache.semantic.guard import difference
from llmrouter.cache.semantic.index import Likeness, Question, QuestionIndex

__all__ = ["SimilarQuestions"]

_MAX_WAITING = 256
"""Questions and look-ups that wait for the thread; past it none are kept, and nothing is found."""
_EXPECTED_SECONDS = 60.0
"""How long a question's answer may take to be stored."""
_MAX_EXPECTED = 4_096
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class SimilarQuestions:
    """An index and its thread. The index is opened when it is first needed."""

    def __init__(
        self, folder: Path, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin; arguments as those of `QuestionIndex`. A `most` of 0 keeps nothing."""
        self._folder = folder
        self._most = most
        self._index: QuestionIndex | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-similar")
        self._waiting = 0
        self._clock = clock
        self._expected: OrderedDict[bytes, float] = OrderedDict()

    async def find(self, question: Question, min_similarity: float) -> list[Likeness]:
        """Return the questions that the same answer does for, the most similar first."""
        found = await self._run(lambda: self._judged(question, min_similarity))
        return found or []

    async def add(self, question: Question, place: bytes) -> None:
        """Keep a question whose answer is at `place`, or will be in a moment."""
        self._expected[place] = self._clock() + _EXPECTED_SECONDS
        while len(self._expected) > _MAX_EXPECTED:
            self._expected.popitem(last=False)
        await self._run(lambda: self._opened().add(question, place))

    async def forget(self, question: Question, place: bytes) -> None:
        """Forget the question of an answer that is gone, unless the answer may yet come."""
        if self._clock() < self._expected.get(place, 0.0):
            return
        await self._run(lambda: self._opened().remove(question.partition, place))

    async def close(self) -> None:
        """Save everything."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _opened(self) -> QuestionIndex:
        if self._index is None:
            self._index = QuestionIndex(self._folder, self._most)
        return self._index

    def _close(self) -> None:
        if self._index is not None:
            self._index.close()

    def _judged(self, question: Question, min_similarity: float) -> list[Likeness]:
        if self._index is None and not self._folder.exists():
            return []
        near = self._opened().find(question, min_similarity)
        return [one for one in near if difference(question.text, one.text) is None]

    def _do(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except CORRUPT as error:
            index, self._index = self._index, None
            if index is not None:
                index.set_aside(error)
            raise

    async def _run(self, work: Callable[[], _T]) -> _T | None:
        """Do it in the thread; None where it failed or too many wait: nothing depends on it."""
        if not self._most or self._waiting >= _MAX_WAITING:
            return None
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)
        except Exception:  # noqa: BLE001 - told in the log, with its trace
            _log.exception("the index of questions failed")
            return None
        finally:
            self._waiting -= 1
