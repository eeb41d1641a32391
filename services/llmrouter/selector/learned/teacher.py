"""Takes grades in, keeps them, and lets the learner train beside the requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from llmrouter.common.prompt_features import PromptFeatures
from llmrouter.selector.learned.chances import Chances
from llmrouter.selector.learned.examples import Example
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.learned.persistence import (
    UnreadableExampleError,
    document_of,
    example_from,
)
from llmrouter.selector.state_store import StateStore

__all__ = ["KIND", "Teacher"]

KIND = "graded"
"""Of the documents in the state store."""
_log = logging.getLogger(__name__)


class Teacher:
    """Stands between grades and the learner; of one event loop."""

    def __init__(
        self, learner: Learner, store: StateStore | None, wall: Callable[[], float]
    ) -> None:
        """Compose it.

        Args:
            learner: What is taught.
            store: Keeps the examples; None keeps them in memory alone.
            wall: Seconds since the epoch.
        """
        self._learner, self._store, self._wall = learner, store, wall
        self._training: asyncio.Task[None] | None = None

    def grade(self, key: str, features: PromptFeatures, model: str, grade: float) -> int:
        """Take in how good one answer was; return how many grades of its model are remembered.

        Args:
            key: The plan's id.
            features: Those that the prompt was routed by.
            model: Who answered.
            grade: 0 (bad) to 1 (good).

        Raises:
            ValueError: The grade is not in 0 to 1.
        """
        kept, gone = self._learner.add(Example(key, features, {model: grade}, self._wall()))
        if self._store is not None:
            self._store.put(KIND, key, document_of(kept))
            for old in gone:
                self._store.put(KIND, old, None)
        self._train_when_due()
        return self._learner.grades(model)

    def restore(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in what was kept; what cannot be read is told and left out."""
        found = []
        for key, data in documents.items():
            try:
                example = example_from(key, data)
            except UnreadableExampleError as error:
                _log.warning("%s; it is left out", error)
                continue
            if example is not None:
                found.append(example)
        for example in sorted(found, key=attrgetter("at")):
            self._learner.add(example)
        self._train_when_due()

    async def idle(self) -> None:
        """Return once no training runs and none is due."""
        while self._training is not None:
            await asyncio.shield(self._training)

    async def close(self) -> None:
        """Wait for no training any more; one that runs ends with the process."""
        training, self._training = self._training, None
        if training is not None:
            training.cancel()
            await asyncio.gather(training, return_exceptions=True)

    def _train_when_due(self) -> None:
        if self._training is None and self._learner.due:
            self._training = asyncio.get_running_loop().create_task(self._train())

    async def _train(self) -> None:
        try:
            while self._learner.due:
                self._learner.adopt(await _in_thread(self._learner.training()))
        except Exception:  # noqa: BLE001 - whatever was learned wrongly, requests go on
            _log.exception("learned routing could not be trained; it goes on with what it knew")
        finally:
            self._training = None


async def _in_thread(work: Callable[[], Chances]) -> Chances:
    """Run work in a thread of its own that holds up no shutdown: it may take seconds."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Chances] = loop.create_future()

    def tell(outcome: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else outcome())
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def run() -> None:
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            failure = error
            tell(lambda: done.set_exception(failure))
        else:
            tell(lambda: done.set_result(found))

    threading.Thread(target=run, name="selector-learning", daemon=True).start()
    return await done
