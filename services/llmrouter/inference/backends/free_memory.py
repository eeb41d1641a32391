"""Memory that the process has freed, given back to the system.

The C library keeps it for the next allocation. Reading a tokenizer and a graph frees tens of
megabytes that nothing asks for again until another model is loaded.
"""

from __future__ import annotations

import ctypes
import gc

__all__ = ["give_back"]


def give_back() -> None:
    """Give back what can be; takes milliseconds, so call it in a thread."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's own; other C libraries keep less
        trim(0)
