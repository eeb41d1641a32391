"""The error for a checkpoint that cannot be imported."""

from __future__ import annotations

from pathlib import Path

from llmrouter.common.errors import Reason, RouterError

__all__ = ["bad_file"]


def bad_file(path: Path, what: str) -> RouterError:
    """Return MODEL_UNAVAILABLE: the file's name, followed by what is wrong with it."""
    return RouterError(
        Reason.MODEL_UNAVAILABLE, f"{path.name} {what}", metadata={"file": path.name}
    )
