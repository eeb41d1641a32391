"""Ends a computation of ONNX Runtime that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llmrouter import _native

__all__ = ["EndableRun"]


class EndableRun:
    """The one computation that runs now, and whom it is for.

    A graph may run for ever; only another thread can end it.

    Args:
        wanted: Whether a request is still worth computing; called on any thread.
    """

    def __init__(self, wanted: Callable[[int], bool]) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._requests: Sequence[int] = ()
        self._ending: _native.RunEnding | None = None

    @contextmanager
    def begin(self, requests: Sequence[int]) -> Iterator[_native.RunEnding]:
        """Give what the computation for `requests` is to be ended by.

        Whoever asks inside which of them are wanted misses none that ends meanwhile.
        """
        ending = _native.RunEnding()
        with self._lock:
            self._requests, self._ending = requests, ending
        try:
            yield ending
        finally:
            with self._lock:
                self._requests, self._ending = (), None

    def end_unwanted(self) -> None:
        """End what runs where no request of it is wanted; call it whenever one has ended."""
        with self._lock:
            if self._ending is not None and not any(map(self._wanted, self._requests)):
                self._ending.end()
