"""The interface of every place that a checkpoint can be had from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.progress import Progress

__all__ = ["LARGEST_BYTES", "Fetched", "Source", "SourceUnreachableError", "refusal"]

LARGEST_BYTES = 100 * 1024**3
"""No checkpoint is fetched beyond this."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A checkpoint on this machine's disk, its checksums compared."""

    path: Path
    """A file, or a folder of files."""
    origin: Origin
    """What the card says of where it came from."""


class SourceUnreachableError(RouterError):
    """MODEL_UNAVAILABLE because nobody answered; another source of the same file may have it."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.MODEL_UNAVAILABLE, message)


def refusal(place: str, why: str) -> RouterError:
    """Return the error MODEL_UNAVAILABLE for what a place offers: `why` goes on after its name."""
    return RouterError(Reason.MODEL_UNAVAILABLE, f"{place} {why}")


class Source(Protocol):
    """One place, and the checkpoint there."""

    def fetched(self, downloads: Path, progress: Progress) -> AbstractContextManager[Fetched]:
        """Bring the checkpoint here for as long as the block lasts.

        What was downloaded goes when the block ends well and stays for the next try when it
        raises; files of others and caches that others share are left alone.

        Args:
            downloads: An existing folder for what is under way; one process uses it at a time.
            progress: Told of what arrives.

        Raises:
            SourceUnreachableError: Nobody answers there.
            RouterError: MODEL_UNAVAILABLE naming the place and what is wrong with what it offers.
                After a wrong checksum, and on a full disk, nothing is kept.
        """
        ...
