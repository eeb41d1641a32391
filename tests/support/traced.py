"""Memory that our own code holds, whatever else allocates in the process meanwhile."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import llmrouter

_OURS = [
    tracemalloc.Filter(inclusive=True, filename_pattern=f"{one}/*")
    for one in (*llmrouter.__path__, Path(__file__).parents[1] / "unit")
]


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Give what tells how many bytes are left of what was allocated since, by us and the tests."""
    tracemalloc.start()

    def taken() -> int:
        gc.collect()
        found = tracemalloc.take_snapshot().filter_traces(_OURS)
        return sum(one.size for one in found.statistics("filename"))

    try:
        yield taken
    finally:
        tracemalloc.stop()
