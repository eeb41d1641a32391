"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called from time to time while long work runs; the CLI draws a bar from it."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of `total` units of `stage` are done; total 0 means unknown."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
