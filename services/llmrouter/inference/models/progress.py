"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

__all__ = ["Progress", "Tell", "silent", "unheard"]

Tell: TypeAlias = Callable[[str], None]
"""Told in a sentence what long work does that no bar shows."""


class Progress(Protocol):
    """Called from time to time while long work runs; the CLI draws a bar from it."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of `total` units of `stage` are done; total 0 means unknown."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def unheard(sentence: str) -> None:
    """Tell nobody."""
