"""Finds the shared library of the llguidance wheel, without importing it.

The wheel's extension module exports llguidance's C interface beside Python's: the engine follows
grammars through it, outside of the interpreter's lock.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["find_llguidance"]


def find_llguidance() -> Path | None:
    """Return the path of the shared library; None where the wheel is not installed."""
    spec = importlib.util.find_spec("llguidance")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("_lib*.so"))
    return found[0] if found else None
