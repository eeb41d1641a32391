"""The interface of everything that turns a foreign checkpoint into a model folder.

Importers register by entry point in the group `llmrouter.importers`, so one may live outside of
this tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.models.progress import Progress

__all__ = ["ENTRY_POINTS", "Checkpoint", "Converted", "Importer", "Resumable", "find_importer"]

ENTRY_POINTS = "llmrouter.importers"


@dataclass(frozen=True, slots=True)
class Converted:
    """What an importer learned about the checkpoint."""

    parameters: int
    licence: str
    """As the checkpoint states it; `unknown` where it does not."""


class Checkpoint(Protocol):
    """An opened checkpoint: its header is read and checked, its weights wait on the disk."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """What it can become, the usual one first. Only one where it stays as it is."""
        ...

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete model folder into the existing, empty folder `target`.

        Args:
            target: Where graph, weights, tokenizer and configuration go.
            precision: One of `precisions`.
            progress: Called with the layers done.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
            OSError: The disk refuses; the caller cleans up.
        """
        ...


@runtime_checkable
class Resumable(Protocol):
    """A checkpoint whose conversion goes on where an earlier one was cut short."""

    def resume(
        self, target: Path, precision: str, progress: Progress, journal: Journal
    ) -> Converted:
        """Do as `Checkpoint.convert`, in a folder that may hold an earlier try's `model.onnx.data`.

        The outcome has the same bytes, whatever was there. Weights that the journal knows to be
        whole stay.

        Raises:
            RouterError, OSError: As `Checkpoint.convert`.
        """
        ...


class Importer(Protocol):
    """One source format."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` looks like this format; reads at most its first bytes."""
        ...

    @classmethod
    def open(cls, source: Path) -> Checkpoint:
        """Read and check the header of `source`, which is untrusted.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        ...


def find_importer(source: Path, name: str | None = None) -> type[Importer]:
    """Return the importer registered as `name`, or else the first one that accepts `source`.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the formats there are.
    """
    if not source.exists():
        raise RouterError(Reason.MODEL_UNAVAILABLE, f"{source} does not exist; check the path")
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    for point in points:
        if name not in (None, point.name):
            continue
        importer = _load(point, needed=name is not None)
        if importer is not None and importer.accepts(source):
            return importer
    known = ", ".join(point.name for point in points) or "none (is llmrouter installed?)"
    if name is not None:
        message = f"{source} cannot be imported by '{name}'; importers are: {known}"
        raise RouterError(Reason.MODEL_UNAVAILABLE, message)
    raise RouterError(
        Reason.MODEL_UNAVAILABLE, f"{source} is of no format known here; known are: {known}"
    )


def _load(point: EntryPoint, *, needed: bool) -> type[Importer] | None:
    """Return an importer; None where what it needs is not installed and it was not asked for."""
    try:
        importer: type[Importer] = point.load()
    except ImportError as error:
        if not needed:
            return None
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"the importer {point.name} cannot be used: {error}; install llmrouter with the extra "
            "that brings it",
        ) from error
    return importer
