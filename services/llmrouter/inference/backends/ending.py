"""Ends a computation of ONNX Runtime that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import onnxruntime

__all__ = ["EndableRun"]


class EndableRun:
    """The one computation that runs now, and whom it is for.

    A graph may run for ever; only its options can end it, from another thread.

    Args:
        wanted: Whether a request is still worth computing; called on any thread.
    """

    def __init__(self, wanted: Callable[[int], bool]) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._requests: Sequence[int] = ()
        self._options: onnxruntime.RunOptions | None = None

    @contextmanager
    def begin(self, requests: Sequence[int]) -> Iterator[onnxruntime.RunOptions]:
        """Give the options to compute with for `requests`.

        Whoever asks inside which of them are wanted misses none that ends meanwhile.
        """
        options = onnxruntime.RunOptions()
        with self._lock:
            self._requests, self._options = requests, options
        try:
            yield options
        finally:
            with self._lock:
                self._requests, self._options = (), None

    def end_unwanted(self) -> None:
        """End what runs where no request of it is wanted; call it whenever one has ended."""
        with self._lock:
            if self._options is not None and not any(map(self._wanted, self._requests)):
                self._options.terminate = True
