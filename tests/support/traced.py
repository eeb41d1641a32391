"""Memory that some modules hold, whatever else allocates in the process meanwhile."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def traced(*files: str) -> Iterator[Callable[[], int]]:
    """Give what tells how many bytes are left of what such files have allocated since.

    Other tests leave tasks and threads behind, which allocate too.
    """
    ours = [tracemalloc.Filter(inclusive=True, filename_pattern=one) for one in files]
    tracemalloc.start()

    def taken() -> int:
        gc.collect()
        found = tracemalloc.take_snapshot().filter_traces(ours)
        return sum(one.size for one in found.statistics("filename"))

    try:
        yield taken
    finally:
        tracemalloc.stop()
