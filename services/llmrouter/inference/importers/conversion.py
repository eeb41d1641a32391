"""From an opened checkpoint to model folders in the store, one precision after the other.

Each is published as soon as it is converted and measured. What a kill leaves of the one under way
lies hidden in the store (`partials.py`), and the next import of the same source goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from llmrouter.common.sizes import size_text
from llmrouter.inference.importers.base import Checkpoint, Converted, Resumable
from llmrouter.inference.importers.graph import DATA_FILE
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.importers.refusal import faults_told
from llmrouter.inference.models.card import CARD_FILE, ModelCard, Quality, Source, write_card
from llmrouter.inference.models.checksum import file_checksums, file_sizes, version_of
from llmrouter.inference.models.ctranslate2_folder import CTranslate2Folder
from llmrouter.inference.models.folder import ModelFolder, folder_card, read_folder
from llmrouter.inference.models.integrity import fault_in
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of
from llmrouter.inference.models.progress import Progress, Tell, unheard
from llmrouter.inference.models.quality import (
    evaluation_tokens,
    exact_quality,
    measure_quality,
    write_reference,
)
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.text import load_text

__all__ = ["Job", "convert_all"]

_REFERENCE = "fp32"
_REFERENCE_NAME = "reference"
"""Of the unquantised weights that are measured against and not kept."""


class _Convert(Protocol):
    def __call__(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Fill the folder `target`."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One checkpoint on its way into the store."""

    checkpoint: Checkpoint
    origin: Source
    licence: str | None
    """None takes what the checkpoint says."""
    progress: Progress
    tell: Tell = unheard

    @property
    def importer(self) -> str:
        """What converts, and of which version: another may write other bytes."""
        return f"{type(self.checkpoint).__qualname__} {version('llmrouter')}"


def convert_all(job: Job, names: Mapping[str, str], store: ModelStore) -> list[StoredModel]:
    """Write a model for each precision, replacing those of its name.

    One that this importer made of the same file before, and that is whole, is finished: so an
    import that broke off goes on behind the last precision that it finished, and behind the last
    tensor of the next, where the checkpoint is `Resumable`.

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
    told = faults_told(job.origin.location, store)
    with told, _interruption_told(job), store.scratch() as scratch:
        yardstick = _Yardstick(job, scratch, store)
        # The unquantised one first: the others are measured by it.
        for precision in sorted(names, key=lambda one: one != _REFERENCE):
            if precision in finished:
                if precision == _REFERENCE:
                    yardstick.measure(precision, store.path(names[precision]))
                continue
            with _converting(job, store, names[precision], precision) as (folder, convert):
                made = convert(folder, precision, job.progress)
                _prove_text(folder)
                quality = yardstick.measure(precision, folder)
                card = _card(job, names[precision], precision, made, folder)
                write_card(replace(card, quality=quality), folder)
                read_model(folder)
    store.clear_partials()
    return [store.model(name) for name in names.values()]


@contextmanager
def _converting(
    job: Job, store: ModelStore, name: str, precision: str, *, install: bool = True
) -> Iterator[tuple[Path, _Convert]]:
    """Give the folder of a model, with what a kill has left of it, and what fills it."""
    checkpoint = job.checkpoint
    if not isinstance(checkpoint, Resumable):
        with store.installing(name) if install else store.scratch() as folder:
            yield folder, checkpoint.convert
        return
    with store.resuming(name, job.origin.sha256, DATA_FILE, install=install) as place:
        what = name if install else "the weights to measure by"
        if not place.alone:
            job.tell(f"another import of {what} is under way; this one begins anew beside it")
        journal = Journal(
            place.journal,
            _made_of(job, precision),
            lambda size: job.tell(f"going on with {what}: {size_text(size)} are there already"),
        )
        yield place.folder, partial(checkpoint.resume, journal=journal)


@contextmanager
def _interruption_told(job: Job) -> Iterator[None]:
    """Say to whoever interrupts that nothing is lost, where that is so."""
    try:
        yield
    except KeyboardInterrupt:
        if isinstance(job.checkpoint, Resumable):
            job.tell("interrupted; the same command goes on from here")
        raise


def _made_of(job: Job, precision: str) -> dict[str, str]:
    """Return all that the bytes of the weights depend on."""
    return {
        "source": job.origin.sha256,
        "importer": job.importer,
        "precision": precision,
        "numpy": version("numpy"),
    }


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

    def __init__(self, job: Job, scratch: Path, store: ModelStore) -> None:
        self._job, self._scratch, self._store = job, scratch, store
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
            place = _converting(self._job, self._store, _REFERENCE_NAME, _REFERENCE, install=False)
            with place as (reference, convert):
                convert(reference, _REFERENCE, self._job.progress)
                self._read_reference(reference)
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


def _prove_text(path: Path) -> None:
    """Load tokenizer and template of a model that generates as whoever serves it would.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, and what is wrong with it.
    """
    model = read_model(path)
    if isinstance(model, ModelFolder | CTranslate2Folder):
        load_text(model)


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
