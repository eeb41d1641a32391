"""From an opened checkpoint to model folders in the store, one precision after the other.

Each is published as soon as it is converted and measured: what an interruption leaves is whole
models and nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from llmrouter.inference.importers.base import Checkpoint, Converted
from llmrouter.inference.models.card import CARD_FILE, ModelCard, Quality, Source, write_card
from llmrouter.inference.models.checksum import file_checksums, file_sizes, version_of
from llmrouter.inference.models.folder import folder_card, read_folder
from llmrouter.inference.models.integrity import fault_in
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.quality import (
    evaluation_tokens,
    exact_quality,
    measure_quality,
    write_reference,
)
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.store import ModelStore

__all__ = ["Job", "convert_all"]

_REFERENCE = "fp32"


@dataclass(frozen=True, slots=True)
class Job:
    """One checkpoint on its way into the store."""

    checkpoint: Checkpoint
    origin: Source
    licence: str | None
    """None takes what the checkpoint says."""
    progress: Progress

    @property
    def importer(self) -> str:
        """What converts, and of which version: another may write other bytes."""
        return f"{type(self.checkpoint).__qualname__} {version('llmrouter')}"


def convert_all(job: Job, names: Mapping[str, str], store: ModelStore) -> list[StoredModel]:
    """Write a model for each precision, replacing those of its name.

    One that this importer made of the same file before, and that is whole, is finished: so an
    import that broke off goes on behind the last precision that it finished.

    Args:
        job: The checkpoint.
        names: Precision to model name.
        store: Where they go.

    Returns:
        The models, in the order of `names`.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming what is wrong, or a full disk. Precisions that were
            finished before stay.
    """
    finished = {one for one in names if _is_finished(job, one, store.path(names[one]))}
    if finished == set(names):
        return [store.model(name) for name in names.values()]
    with store.scratch() as scratch:
        yardstick = _Yardstick(job, scratch)
        # The unquantised one first: the others are measured by it.
        for precision in sorted(names, key=lambda one: one != _REFERENCE):
            if precision in finished:
                if precision == _REFERENCE:
                    yardstick.measure(precision, store.path(names[precision]))
                continue
            with store.installing(names[precision]) as folder:
                made = job.checkpoint.convert(folder, precision, job.progress)
                quality = yardstick.measure(precision, folder)
                card = _card(job, names[precision], precision, made, folder)
                write_card(replace(card, quality=quality), folder)
                read_model(folder)
    return [store.model(name) for name in names.values()]


def _is_finished(job: Job, precision: str, path: Path) -> bool:
    if not (path / CARD_FILE).is_file() or fault_in(path) is not None:
        return False
    card = folder_card(path)
    return (
        card is not None
        and (card.source.sha256, card.precision) == (job.origin.sha256, precision)
        and card.importer == job.importer
    )


class _Yardstick:
    """Measures folders against the unquantised weights, which are written out when first needed."""

    def __init__(self, job: Job, scratch: Path) -> None:
        self._job, self._scratch = job, scratch
        self._tokens: list[int] = []
        self._perplexity: float | None = None

    def measure(self, precision: str, folder: Path) -> Quality | None:
        """Return what a precision costs; None where there is nothing to compare it with."""
        comparable = len(self._job.checkpoint.precisions) > 1
        if not comparable or kind_of(folder) is not Kind.GENAI:
            return None
        if precision == _REFERENCE:
            return exact_quality(self._read_reference(folder), len(self._tokens))
        if self._perplexity is None:
            reference = self._scratch / _REFERENCE
            reference.mkdir()
            self._job.checkpoint.convert(reference, _REFERENCE, self._job.progress)
            self._read_reference(reference)
            shutil.rmtree(reference)
        return measure_quality(read_folder(folder), self._tokens, self._file, self._job.progress)

    @property
    def _file(self) -> Path:
        return self._scratch / "log-probabilities"

    def _read_reference(self, path: Path) -> float:
        folder = read_folder(path)
        self._tokens = evaluation_tokens(folder)
        found = write_reference(folder, self._tokens, self._file, self._job.progress)
        self._perplexity = found
        return found


def _card(job: Job, name: str, precision: str, made: Converted, path: Path) -> ModelCard:
    folder, checksums = read_model(path), file_checksums(path)
    return ModelCard(
        name=name,
        version=version_of(checksums),
        architecture=folder.architecture,
        parameters=made.parameters,
        precision=precision,
        context=folder.context_length,
        licence=job.licence or made.licence,
        source=job.origin,
        importer=job.importer,
        files=file_sizes(path),
        checksums=checksums,
    )
