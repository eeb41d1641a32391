"""The errors for a checkpoint that cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.untrusted_json import BrokenFileError

__all__ = ["bad_file", "faults_told"]


def bad_file(path: Path, what: str) -> RouterError:
    """Return MODEL_UNAVAILABLE: the file's name, followed by what is wrong with it."""
    return RouterError(
        Reason.MODEL_UNAVAILABLE, f"{path.name} {what}", metadata={"file": path.name}
    )


@contextmanager
def faults_told(source: str, store: ModelStore) -> Iterator[None]:
    """Tell of broken files what whoever imports can do about them.

    What reads model folders advises to import them again; here they are being imported, and those
    in the store's hidden folders are gone by the time anybody looks for them.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the source and the file.
    """
    try:
        yield
    except BrokenFileError as error:
        inner = store.staged(error.file)
        told = f"{error.file}: {error.problem}; fetch or export the checkpoint again"
        if inner is not None:
            told = (
                f"{source} becomes a model that is refused, {inner.name}: {error.problem}; import "
                "another checkpoint"
            )
        raise RouterError(error.reason, told) from error
