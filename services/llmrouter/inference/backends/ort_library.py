"""Finds the ONNX Runtime library of whichever wheel is installed, without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError

__all__ = ["find_library"]

_PATTERN = "libonnxruntime.so.*"


def find_library() -> Path:
    """Return the path of the shared library.

    Both wheels, `onnxruntime` and `onnxruntime-gpu`, install a package of the same name.

    Raises:
        RouterError: MODEL_UNAVAILABLE saying what to install.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is not None and spec.origin is not None:
        found = sorted((Path(spec.origin).parent / "capi").glob(_PATTERN))
        if found:
            return found[-1]
    raise RouterError(
        Reason.MODEL_UNAVAILABLE,
        "local models need ONNX Runtime, which is not installed: pip install 'llmrouter[cpu]'",
    )
