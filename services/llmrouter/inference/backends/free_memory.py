"""Memory that the process has freed, given back to the system.

The C library keeps it for the next allocation. Reading a tokenizer and a graph frees tens of
megabytes that nothing asks for again until another model is loaded.
"""

from __future__ import annotations

import ctypes
import gc

__all__ = ["give_back", "keep_together"]

_ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's malloc.h."""


def keep_together() -> None:
    """Let all threads allocate from one place from now on.

    Else each has its own, and what a thread leaves behind in pieces can be given back by nobody:
    that was 14 MiB of a model of 148. What serves allocates little, and small things without locks.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:  # glibc's own, as `malloc_trim` is; other C libraries keep less
        tune(_ARENA_MAX, 1)


def give_back() -> None:
    """Give back what can be; takes milliseconds, so call it in a thread."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
