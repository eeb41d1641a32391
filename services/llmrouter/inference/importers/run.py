"""From a name or a checkpoint to model folders in the store: fetch, convert, measure, publish.

Plain synchronous functions that compute for seconds: call them in a process of their own, never
on an event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from llmrouter.common.errors import invalid
from llmrouter.inference.importers.architecture import PRECISIONS
from llmrouter.inference.importers.base import Checkpoint, Converted, find_importer
from llmrouter.inference.importers.embedding import pull_embedding
from llmrouter.inference.models.card import CARD_FILE, ModelCard, Quality, Source, write_card
from llmrouter.inference.models.catalog import CatalogEntry, find_entry
from llmrouter.inference.models.checksum import file_sha256, file_sizes, folder_version
from llmrouter.inference.models.embedding_catalog import EMBEDDINGS, find_embedding_entry
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.quality import (
    evaluation_tokens,
    exact_quality,
    measure_quality,
    write_reference,
)
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.sources.base import Source as CheckpointSource
from llmrouter.inference.models.store import ModelStore, check_name

__all__ = ["import_checkpoint", "import_from", "pull"]

_REFERENCE = "fp32"


@dataclass(frozen=True, slots=True)
class _Job:
    """One checkpoint on its way into the store."""

    checkpoint: Checkpoint
    origin: Source
    licence: str | None
    """None takes what the checkpoint says."""
    progress: Progress


def pull(
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Sequence[StoredModel]:
    """Fetch a model of the catalog, and import it unless its files are used as they are.

    Args:
        name: A bare name (all precisions) or one with its precision.
        store: Where the folders go; models that are there already are left as they are.
        precisions: Instead of those the name stands for.
        progress: Told of every stage.

    Returns:
        The folders, in the order of the precisions.

    Raises:
        RouterError: UNKNOWN_MODEL; MODEL_UNAVAILABLE when the source cannot be had or is wrong,
            or the disk is full. Nothing half-written is left.
    """
    ready_made = find_embedding_entry(name)
    if ready_made is not None:
        return [pull_embedding(ready_made, store, precisions, progress)]
    entry, named = find_entry(name, [one.name for one in EMBEDDINGS])
    wanted = _check_precisions(precisions or named)
    if not set(wanted) & set(entry.offered if name == entry.name else named):
        raise invalid("precision", f"{', '.join(wanted)} contradicts the name {name}")
    if _missing(entry, wanted, store):
        with store.downloading() as downloads:
            # Another process may have pulled them while this one waited.
            _pull_missing(entry, _missing(entry, wanted, store), store, downloads, progress)
    return [store.model(entry.model_name(one)) for one in wanted]


def import_checkpoint(
    source: Path,
    name: str,
    store: ModelStore,
    precisions: Sequence[str] = PRECISIONS[:1],
    progress: Progress = silent,
    importer: str | None = None,
    origin: Source | None = None,
) -> list[StoredModel]:
    """Import a checkpoint file as the models `<name>-<precision>`, replacing those of that name.

    Args:
        source: The file.
        name: What the models are called, before their precision.
        store: Where the folders go.
        precisions: Which to write.
        progress: Told of every stage.
        importer: The registered importer to use; None takes the one made for the format.
        origin: What the cards say of where it came from; None names the file.

    Raises:
        RouterError: INVALID_ARGUMENT for the name or a precision; MODEL_UNAVAILABLE naming what
            is wrong with the file, or a full disk. Nothing half-written is left.
    """
    check_name(name)
    wanted = _check_precisions(precisions)
    checkpoint = find_importer(source, importer).open(source)
    if origin is None:
        origin = Source(location=source.name, sha256=file_sha256(source))
    job = _Job(checkpoint, origin, None, progress)
    return _import(job, {one: f"{name}-{one}" for one in wanted}, store)


def import_from(
    source: CheckpointSource,
    name: str,
    store: ModelStore,
    precisions: Sequence[str] = PRECISIONS[:1],
    progress: Progress = silent,
    importer: str | None = None,
) -> list[StoredModel]:
    """Fetch a checkpoint from wherever it is and import it, as `import_checkpoint` says.

    Raises:
        RouterError: As `import_checkpoint` and `Source.fetched`.
    """
    check_name(name)
    _check_precisions(precisions)
    with store.downloading() as downloads, source.fetched(downloads, progress) as found:
        return import_checkpoint(
            found.path, name, store, precisions, progress, importer, found.origin
        )


def _check_precisions(precisions: Sequence[str]) -> tuple[str, ...]:
    for one in precisions:
        if one not in PRECISIONS:
            raise invalid("precision", f"{one!r} is unknown; one of {', '.join(PRECISIONS)}")
    return tuple(dict.fromkeys(precisions))


def _missing(entry: CatalogEntry, precisions: Sequence[str], store: ModelStore) -> list[str]:
    """Return the precisions that the store lacks or holds without a card."""
    return [
        one for one in precisions if not (store.path(entry.model_name(one)) / CARD_FILE).is_file()
    ]


def _pull_missing(
    entry: CatalogEntry,
    precisions: Sequence[str],
    store: ModelStore,
    downloads: Path,
    progress: Progress,
) -> None:
    if not precisions:
        return
    with entry.source.fetched(downloads, progress) as found:
        checkpoint = find_importer(found.path).open(found.path)
        job = _Job(checkpoint, found.origin, entry.licence, progress)
        _import(job, {one: entry.model_name(one) for one in precisions}, store)


def _import(job: _Job, names: dict[str, str], store: ModelStore) -> list[StoredModel]:
    """Convert into staging folders, measure each against the unquantised one, publish."""
    with ExitStack() as stack:
        scratch = stack.enter_context(store.scratch())
        staged = {
            precision: stack.enter_context(store.installing(name))
            for precision, name in names.items()
        }
        converted = {
            precision: job.checkpoint.convert(folder, precision, job.progress)
            for precision, folder in staged.items()
        }
        # Folders of other kinds do not run where quality is measured.
        measured: dict[str, Quality] = {}
        if all(kind_of(folder) is Kind.GENAI for folder in staged.values()):
            reference = staged.get(_REFERENCE) or _convert_reference(job, scratch)
            measured = _measure(list(staged.items()), reference, scratch, job.progress)
        for precision, folder in staged.items():
            card = _card(job, names[precision], precision, converted[precision], folder)
            write_card(replace(card, quality=measured.get(precision)), folder)
            read_model(folder)
    return [store.model(name) for name in names.values()]


def _convert_reference(job: _Job, scratch: Path) -> Path:
    folder = scratch / _REFERENCE
    folder.mkdir()
    job.checkpoint.convert(folder, _REFERENCE, job.progress)
    return folder


def _measure(
    staged: Sequence[tuple[str, Path]], reference: Path, scratch: Path, progress: Progress
) -> dict[str, Quality]:
    """Return what each precision costs on the evaluation text."""
    exact = read_folder(reference)
    tokens = evaluation_tokens(exact)
    file = scratch / "log-probabilities"
    perplexity = write_reference(exact, tokens, file, progress)
    return {
        precision: exact_quality(perplexity, len(tokens))
        if precision == _REFERENCE
        else measure_quality(read_folder(folder), tokens, file, progress)
        for precision, folder in staged
    }


def _card(job: _Job, name: str, precision: str, made: Converted, path: Path) -> ModelCard:
    folder = read_model(path)
    return ModelCard(
        name=name,
        version=folder_version(path),
        architecture=folder.architecture,
        parameters=made.parameters,
        precision=precision,
        context=folder.context_length,
        licence=job.licence or made.licence,
        source=job.origin,
        files=file_sizes(path),
    )
